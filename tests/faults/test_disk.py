"""Disks that are full or read-only: said before the work where it can be, and what was there stays whole."""

import contextlib
import re
import shutil

import pytest

from .coco import tree_hash
from .commands import DEMO, call, ended, invoke, start, until


def fill(folder):
    """Leave no room on the file system of a folder."""
    with (folder / "filling").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    return shutil.disk_usage(folder).free


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.fault(
    "B2-8",
    "disk full while a summary is written: exit 7, bytes needed and free; the old file stands, nothing beside it",
    how="real",
)
def test_a_full_disk_under_a_summary(planted, mounted):
    run = planted.run("yolo10n", 0).trajectory("yolo10n", 0)
    out = mounted("256k") / "out"
    command = ("qat-report", "summarize", "--run", run, "--method", "ema", "--out", out)
    assert call(*command).code == 0
    before, old = tree_hash(out), names(out)
    fill(out.parent)
    done = call(*command)
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("error: [Errno 28] No space left on device: ")
    assert " bytes are needed, 0 are free: " in done.err
    assert str(out) in done.err
    assert tree_hash(out) == before
    assert names(out) == old
    (out.parent / "filling").unlink()
    assert call(*command).code == 0


@pytest.mark.fault(
    "B2-8",
    "disk full while the gate writes its decision: exit 7, neither GO nor NO-GO; the last decision stands",
    how="real",
)
def test_a_full_disk_under_a_decision(planted, mounted):
    summary = planted.run("yolo10n", 0).summary("yolo10n", "ema", 0)
    out = mounted("128k") / "gate.json"
    command = ("qat-gate", "check", "--policy", "configs/gate.toml", "--out", out, summary)
    assert call(*command).code == 4
    before = out.read_bytes()
    fill(out.parent)
    done = call(*command)
    assert (done.code, done.out) == (7, "")
    assert f" bytes are needed, 0 are free: '{out}'" in done.err
    assert out.read_bytes() == before
    assert names(out.parent) == ["filling", "gate.json"]


@pytest.mark.fault("B2-8", "disk full while data are prepared: exit 7, no half data set is left", how="real")
def test_a_full_disk_under_a_data_set(coco, mounted):
    folder = mounted("64k")
    fill(folder)
    done = coco.prepare(folder / "out")
    assert (done.code, done.out) == (7, "")
    assert "No space left on device" in done.err
    assert names(folder) == ["filling"]


@pytest.mark.fault(
    "B2-9", "too little room for the state of a run: exit 7 before the first step, bytes needed and free", how="real"
)
def test_too_little_room_for_a_run(spec, mounted):
    out = mounted("20m") / "run"
    done = call("qat-train", "run", "--spec", spec(), "--out", out)
    assert (done.code, done.out) == (7, "")
    text = rf"error: {out}: (\d+) bytes are needed on the disk for the state of this run, (\d+) are there; free some"
    needed, there = map(int, re.search(text, done.err).groups())
    assert (needed > 100_000_000, there <= 20 << 20) == (True, True)
    assert not (out / "run.json").exists()


@pytest.mark.slow
@pytest.mark.fault(
    "B2-9",
    "disk full in training: exit 7, bytes needed and free; the last epoch stands, and the same call goes on from it",
    how="real",
)
def test_a_disk_that_fills_up_in_training(spec, mounted, record_property):
    folder = mounted("400m")
    out = folder / "run"
    command = ("qat_train", "run", "--spec", spec(epochs=3), "--out", out)
    first = start(*command)
    until(first, "epoch 1/3")
    first.terminate()
    assert ended(first).code == 143
    before, state = (out / "metrics.jsonl").read_bytes(), tree_hash(out / "state")

    second = start(*command)
    until(second, "references: ")  # after it has looked for room
    fill(folder)
    done = ended(second)
    assert done.code == 7, done.err
    assert "error: [Errno 28] No space left on device: " in done.err
    assert " bytes are needed, 0 are free: " in done.err
    assert (out / "metrics.jsonl").read_bytes() == before
    assert tree_hash(out / "state") == state

    (folder / "filling").unlink()
    done = ended(start(*command))
    assert done.code == 0, done.err
    whole = (out / "metrics.jsonl").read_bytes()
    assert (whole.startswith(before), whole.count(b"\n")) == (True, 3)
    record_property("losses", 0 if whole.startswith(before) else 1)


@pytest.mark.fault(
    "B2-10", "run root, or the folder of any output, read-only: exit 7 before any work, the path named", how="real"
)
def test_a_read_only_place(coco, planted, spec, mounted, read_only):
    planted.run("yolo10n", 0)
    run, summary = planted.trajectory("yolo10n", 0), planted.summary("yolo10n", "ema", 0)
    folder = read_only(mounted("256k"))
    flags = ("--profile", "tiny", "--coco-root", coco.path, "--checkpoint", DEMO, "--device", "cpu", "--root", folder)
    done = invoke("ladder.n", *flags)
    text = f"error: {folder} cannot be written: Read-only file system; choose another --root\n"
    assert (done.code, done.out, done.err) == (7, "", text)
    done = coco.prepare(folder / "out")
    text = f"error: [Errno 30] Read-only file system; choose another --out: '{folder}/out'\n"
    assert (done.code, done.err) == (7, text)  # no image was read: there is no line that counts them
    for out, command in (
        (folder / "run", ("qat-train", "run", "--spec", spec(), "--out", folder / "run")),
        (folder / "s/summary.md", ("qat-report", "summarize", "--run", run, "--method", "ema", "--out", folder / "s")),
        (
            folder / "gate.json",
            ("qat-gate", "check", "--policy", "configs/gate.toml", "--out", folder / "gate.json", summary),
        ),
    ):
        done = call(*command)
        assert (done.code, done.out) == (7, "")
        assert "error: [Errno 30] Read-only file system: " in done.err
        assert str(out.relative_to(folder).parts[0]) in done.err
    assert names(folder) == []

    planted.decide()
    (planted.folder / ".lock").touch()
    archive = mounted("1m", "archive") / "root"
    shutil.copytree(planted.folder, archive)
    read_only(archive.parent)
    done = invoke("ladder.status", "--root", archive)  # reading is no work
    assert done.code == 0, done.err
    assert done.out.startswith(f"{archive}: 3 of 3 cells done")


@pytest.mark.fault(
    "B2-11",
    "data set read-only: prepared and checked like any other, labels and caches lie under our own root",
    how="real",
)
def test_a_read_only_data_set(coco, mounted, read_only, tmp_path):
    data = mounted("1m") / "coco"
    shutil.copytree(coco.path, data)
    read_only(data.parent)
    before = tree_hash(data)
    assert call("qat-data", "check", data).code == 0
    assert call("qat-data", "prepare", "--coco-root", data, "--out", tmp_path / "out").code == 0
    assert call("qat-data", "check", tmp_path / "out").code == 0
    assert tree_hash(data) == before


@pytest.mark.fault(
    "extra-data-missing", "data root missing: exit 3, the file that was looked for, and the flag", how="real"
)
def test_a_data_root_that_is_not_there(tmp_path, spec):
    done = call("qat-data", "prepare", "--coco-root", tmp_path / "none", "--out", tmp_path / "out")
    assert done.code == 3
    assert done.err == (
        f"error: {tmp_path}/none/annotations/instances_train2017.json: No such file or directory; "
        "is this a COCO root? Other names: --train-json, --val-json (in a ladder, data.train_json and data.val_json)\n"
    )
    done = call("qat-data", "check", tmp_path / "none")
    assert (done.code, done.err) == (3, f"error: {tmp_path}/none: no such file or folder\n")
    done = call("qat-train", "run", "--spec", spec(dataset=tmp_path / "none.json"), "--out", tmp_path / "run")
    assert (done.code, done.err) == (3, f"error: {tmp_path}/none.json: No such file or directory\n")


@pytest.mark.fault(
    "extra-checkpoint-missing", "checkpoint missing, or no checkpoint: exit 3, its name and what to do", how="real"
)
def test_a_checkpoint_that_is_not_there(spec, tmp_path):
    done = call("qat-train", "run", "--spec", spec(checkpoint=tmp_path / "none.pt"), "--out", tmp_path / "run")
    assert done.code == 3
    assert f"error: model.checkpoint: {tmp_path}/none.pt does not exist; give a .pt file, or put the" in done.err
    (tmp_path / "empty.pt").write_bytes(b"")
    done = call("qat-train", "inspect", "--checkpoint", tmp_path / "empty.pt")
    assert done.code == 3
    assert f"error: {tmp_path}/empty.pt" in done.err
