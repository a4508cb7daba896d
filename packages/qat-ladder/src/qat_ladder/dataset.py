"""The prepared data of a run root, made once."""

import json
import shutil
from pathlib import Path

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
    folder = root.path / "data"
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
