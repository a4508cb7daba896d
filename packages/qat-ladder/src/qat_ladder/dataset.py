"""The prepared data of a run root, made once."""

import json
import shutil
from pathlib import Path

import msgspec

import qat_artifacts
from qat_ladder.config import Config
from qat_ladder.errors import ConfigError
from qat_ladder.launch import Say, call
from qat_ladder.layout import Root

DEMO = {"images": 192, "val-images": 64, "seed": 0, "imgsz": 160}
PRETRAIN = {"images": 1024, "val-images": 128, "seed": 1, "imgsz": 160}  # other images than the demo's


def draw(out: Path, numbers: dict[str, int]) -> Path:
    """Draw a data set by `qat-data synth`, unless it is there."""
    if not out.exists():
        call("qat-data", "synth", "--out", out, *(str(part) for k, v in numbers.items() for part in (f"--{k}", v)))
    return out


class _Annotations(msgspec.Struct):
    """Of a COCO file: how many images it lists. The other hundreds of megabytes are skipped, not built."""

    images: list[msgspec.Raw]


def image_counts(config: Config, root: Root, fingerprint: str) -> tuple[int, int] | None:
    """Training and validation images: of the prepared data; before that as many as are asked for and there are.

    None where nobody can say: a YOLO data.yaml that is not prepared yet, or annotations that are missing or no COCO.
    """
    file = root.data(fingerprint) / "dataset.json"
    if fingerprint and file.exists():
        found = qat_artifacts.loads(file.read_bytes())
        return found["train"]["images"], found["val"]["images"]
    data = config.data
    if config.demo:
        there = (DEMO["images"], DEMO["val-images"])
    else:
        try:
            train, val = (
                len(msgspec.json.decode((Path(data.coco_root) / name).read_bytes(), type=_Annotations).images)
                for name in (data.train_json, data.val_json)
            )
        except (OSError, msgspec.MsgspecError):
            return None
        there = (train, val)
    train, val = (
        min(asked, number) if isinstance(asked, int) else number
        for asked, number in zip((data.train_images, data.val_images), there, strict=True)
    )
    return train, val


def prepare_arguments(config: Config, source: Path) -> list[str]:
    """Arguments of `qat-data prepare` without --out."""
    data = config.data
    arguments = ["--data-seed", str(data.seed), "--train-selection", data.train_selection]
    arguments += ["--val-selection", data.val_selection]
    for flag, number in (("--train-images", data.train_images), ("--val-images", data.val_images)):
        arguments += [] if number == "all" else [flag, str(number)]
    if source.suffix in (".yaml", ".yml"):
        return ["--data", str(source), *arguments]
    for flag, name in (
        ("--train-json", data.train_json),
        ("--train-dir", data.train_dir),
        ("--val-json", data.val_json),
        ("--val-dir", data.val_dir),
    ):
        arguments += [flag, name]
    return ["--coco-root", str(source), *arguments]


def prepare(config: Config, root: Root, known: str, say: Say, numbers: dict[str, int] | None = None) -> str:
    """Prepare the data of a plan below its root; returns the fingerprint.

    Args:
        config: its [data] section says what.
        root: the run root.
        known: fingerprint in the root's plan, or "": then it is used as it lies there.
        say: gets counts and notes.
        numbers: what to draw where no data are given; the demo's by default.

    Raises:
        InputProblem: the data cannot be used, or changed since they were prepared.
        ConfigError: they have another fingerprint than the plan.
    """
    if known and (root.data(known) / "dataset.json").exists():
        call("qat-data", "check", root.data(known))  # the images are links: has anybody changed them?
        return known
    folder = root.prepared
    source = Path(config.data.coco_root)
    if config.demo:
        source = draw(folder / "drawn", numbers or DEMO)
    incoming = folder / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    record = json.loads(call("qat-data", "prepare", *prepare_arguments(config, source), "--out", incoming, "--json"))
    if known and record["fingerprint"] != known:
        shutil.rmtree(incoming)
        raise ConfigError(
            f"{root.plan}: the data have the fingerprint {known[:12]} there and {record['fingerprint'][:12]} now: "
            "files changed; one run root holds one plan, choose another with --root runs/NAME"
        )
    final = root.data(record["fingerprint"])
    if final.exists():
        shutil.rmtree(incoming)
    else:
        incoming.replace(final)
    for name in ("train", "val"):
        for note in record[name]["notes"]:
            say(f"{name}: {note}")
    return str(record["fingerprint"])
