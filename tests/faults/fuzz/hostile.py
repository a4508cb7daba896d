"""Files of some kilobytes that ask for terabytes, read in a process that may have one gigabyte more than it has.

Called as `python hostile.py light|weights FOLDER`; prints a line of JSON a case: its name, how it ended, and what it
said. A process of its own, because a limit on memory cannot be lifted again.
"""

import io
import json
import pickle
import resource
import struct
import sys
import zipfile
from pathlib import Path

ROOM = 1 << 30  # bytes above what the interpreter and its libraries have mapped
HUGE = 10**12


def light(folder):
    """Cases of the readers that need no torch: (name, file name, content, reader)."""
    import qat_artifacts
    from qat_data.truth import read_annotations
    from qat_data.yolo import read_yolo
    from qat_ladder.compose import read_layer
    from qat_report.epochs import read_epochs
    from qat_report.series import read_series

    yaml = "train: t.txt\nval: t.txt\nnames: [a]\n"
    (folder / "t.txt").write_text("")
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    aliases = "l0: &l0 [lol]\n" + levels
    merged = "l0: &l0 {k: v}\n" + "".join(
        f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
    )
    image = {"id": 1, "file_name": "a.jpg", "width": HUGE, "height": HUGE}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, HUGE, HUGE]}
    coco = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cell"}]}
    header = "epoch,metrics/mAP50-95(B)\n"
    yield "aliases as nc", "data.yaml", aliases + yaml + "nc: *l29\n", read_yolo
    yield "aliases as path", "data.yaml", aliases + yaml + "path: *l29\n", read_yolo
    yield "aliases as names", "data.yaml", aliases + yaml.replace("[a]", "*l29"), read_yolo
    yield "aliases as train", "data.yaml", aliases + yaml.replace("t.txt\nval", "*l29\nval"), read_yolo
    yield "merged merges", "data.yaml", merged + yaml, read_yolo
    yield "an image of 10^12 pixels", "instances.json", json.dumps(coco), read_annotations
    yield "epoch 10^12", "results.csv", f"{header}1,0.1\n{HUGE},0.2\n", read_series
    yield "a gap of 999,998 epochs", "results.csv", f"{header}1,0.1\n2,0.1\n999999,0.2\n", read_series
    yield "a line for epoch 10^12", "metrics.jsonl", json.dumps({"epoch": HUGE}) + "\n", read_epochs
    yield "10^6 lists in another", "a.json", '{"a": ' + "[" * 10**6, qat_artifacts.read_header
    yield "10^6 dots in a key", "a.toml", ".".join("a" * 10**6) + " = 1\n", lambda path: read_layer(path, "given")


def weights(folder):
    """Cases of weight files, whose headers state sizes."""
    from qat_train.export.packed import read_packed
    from qat_train.unpickling import open_pt

    def safetensors(header, length=None):
        raw = json.dumps(header).encode()
        return struct.pack("<Q", len(raw) if length is None else length) + raw

    claim = {"x": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}
    wrapped = {"x": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 0]}}
    yield "a header of 2^63 bytes", "a.safetensors", safetensors({}, 2**63), read_packed
    yield "a header of 10^12 bytes", "a.safetensors", safetensors({}, HUGE), read_packed
    yield "a tensor of 10^12 numbers", "a.safetensors", safetensors(claim), read_packed
    yield "a size that wraps round", "a.safetensors", safetensors(wrapped), read_packed
    yield "a member that unfolds to more than there is", "a.pt", pt(pickle.dumps({"a": 1}), stored=False), open_pt
    yield "a storage of 10^12 numbers", "a.pt", pt(storage_of(HUGE)), open_pt
    yield "a bytes object of 10^12", "a.pt", pt(b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"x."), open_pt
    yield "a memo at place 2^31", "a.pt", pt(b"\x80\x02}r" + struct.pack("<I", 2**31) + b"."), open_pt
    yield "a frame of 2^63 bytes", "a.pt", pt(b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"}."), open_pt


def pt(stream, *, stored=True):
    """A .pt file in torch's zip format; not `stored`, its pickle is followed by what unfolds to 1.5 gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open(zipfile.ZipInfo("a/data.pkl"), "w") as member:
            member.write(stream)
        if not stored:
            about = zipfile.ZipInfo("a/more.pkl")
            about.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(about, "w", force_zip64=True) as member:
                for _ in range(1536):
                    member.write(bytes(1 << 20))
        archive.writestr("a/version", "3\n")
    return buffer.getvalue()


def storage_of(number):
    """The pickle of a tensor whose storage states a number of elements, in torch's words, without building it."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08" + struct.pack("<q", number) + b"tQK\x00\x8a\x08"
        + struct.pack("<q", number) + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def main(group, folder):
    cases = list({"light": light, "weights": weights}[group](folder))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, file, content, read in cases:
        path = folder / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            read(path)
            kind, text = "read", ""
        except BaseException as error:
            kind, text = type(error).__name__, str(error)[:300]
        print(json.dumps({"case": name, "ended": kind, "said": text}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
