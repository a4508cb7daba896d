"""`invoke export.*` and `invoke predict.*`: the 4-bit files of one row of a run root, and detections with them."""

from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.launch import call, say
from qat_ladder.layout import Root
from qat_ladder.training import trusting

MODEL = "model.onnx"  # what `qat-train export` calls it


@attrs.frozen(kw_only=True)
class _Average:
    enabled: bool


@attrs.frozen(kw_only=True)
class _Method:
    ema: _Average


@attrs.frozen(kw_only=True)
class _Artifacts:
    run_root: str
    qc_json: str | None = None


@attrs.frozen(kw_only=True)
class _Row:
    """What is asked of qat-report/run-summary 1.x; paths are relative to it."""

    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    method: _Method
    artifacts: _Artifacts


def parse_seed(text: str) -> int:
    """One seed.

    Raises:
        ConfigError: no integer from 0.
    """
    if not (text.isdecimal() and text.isascii()):
        raise ConfigError(f"--seed {text!r}: expected one integer from 0")
    return int(text)


def parse_confidence(text: str) -> float:
    """A score.

    Raises:
        ConfigError: no number from 0 to 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--conf {text!r}: expected a score from 0 to 1, such as 0.25")
    return value


def export_folder(root: Root, variant: str, method: str, seed: int) -> Path:
    """Where the export of a row lies: beside its summary."""
    return root.summary(variant, method, seed) / "export"


def run_export(
    root: Root, variant: str, *, method: str, seed: int, out: Path | None, benchmark: bool, trust: str = ""
) -> int:
    """Export one row and print what was proven.

    Args:
        root: a run root.
        variant: yolo10n, yolo10s or yolo10m.
        method: a row of the comparison, such as "ema+qc".
        seed: of the row.
        out: another folder than `export_folder`.
        benchmark: measure latency too.
        trust: "sha256:<hex>" of a .pt file whose code may run; "" for none.

    Raises:
        ConfigError: the root has no such row; the text names those that are there.
        ArtifactError: its summary cannot be read.
        LadderError: the export failed; text and exit code of qat-train.
    """
    path = root.summary(variant, method, seed) / "run_summary.json"
    if not path.is_file():
        found = root.path.glob("yolo10?/*/seed*/run_summary.json")
        there = sorted(summary.parent.relative_to(root.path).as_posix() for summary in found)
        raise ConfigError(
            f"{path} does not exist: no row {method!r} with seed {seed}; there are: {', '.join(there) or 'none'}"
        )
    row = qat_artifacts.read_view(path, _Row)
    folder = path.parent
    arguments: list[str | Path] = ["--run", folder / row.artifacts.run_root, "--method", method]
    arguments += ["--series", "ema" if row.method.ema.enabled else "raw"]
    arguments += ["--qc", folder / row.artifacts.qc_json] if row.artifacts.qc_json else []
    arguments += ["--benchmark"] if benchmark else []
    arguments += trusting(trust)
    say(f"{variant}/{method}/seed{seed}: exporting; every validation image is run by torch and by ONNX Runtime")
    print(call("qat-train", "export", *arguments, "--out", out or export_folder(root, variant, method, seed)).rstrip())
    return 0


def run_predict(
    root: Root,
    variant: str,
    *,
    method: str,
    seed: int,
    images: list[str],
    out: Path | None,
    confidence: float,
    against: Path | None,
    trust: str = "",
) -> int:
    """Detect objects in images with the export of a row and with its floating-point checkpoint; print and draw both.

    Args:
        root: a run root.
        variant: yolo10n, yolo10s or yolo10m.
        method: a row of the comparison.
        seed: of the row.
        images: files.
        out: folder for pictures of both sides; beside the export without.
        confidence: lowest score, in [0, 1].
        against: another floating-point checkpoint than the one that the row's run started from. qat-train finds that
            one through export.json; where it is gone, the printed text says so and the export is alone.
        trust: "sha256:<hex>" of a .pt file whose code may run; "" for none.

    Raises:
        ConfigError: no image was named, or the row was not exported.
        LadderError: the prediction failed; text and exit code of qat-train.
    """
    if not images:
        raise ConfigError("--image: at least one file is needed, such as --image photo.jpg")
    folder = export_folder(root, variant, method, seed)
    if not (folder / MODEL).is_file():
        raise ConfigError(
            f"{folder / MODEL} does not exist; export the row first: invoke export.{variant[-1]} --root {root.path} "
            f"--method {method} --seed {seed}"
        )
    named = [word for image in images for word in ("--image", image)]
    options: list[str | Path] = ["--conf", str(confidence), "--out", out or folder.parent / "predicted"]
    options += ["--against", against] if against else []
    options += trusting(trust)
    print(call("qat-train", "predict", "--model", folder / MODEL, *named, *options).rstrip())
    return 0
