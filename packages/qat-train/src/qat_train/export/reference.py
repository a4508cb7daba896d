"""The floating-point checkpoint that an exported model is set beside: found from the run, loaded, made comparable."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qat_artifacts
from qat_train.detector import SCRATCH, Detector, load_detector, match_classes, same_classes, set_head
from qat_train.errors import InputError
from qat_train.run import Run


def run_of_export(record: Path) -> Run:
    """The run that an export came from, as export.json refers to it.

    Raises:
        InputError: export.json or the run is gone, or the run is not the exported one any more.
        ArtifactError: one of them cannot be read.
    """
    if not record.is_file():
        raise InputError(f"{record} is missing, which names the run")
    for ref in qat_artifacts.read_header(record).inputs:
        if ref.schema == Run.SCHEMA:
            path = record.parent / ref.path
            if not path.is_file():
                raise InputError(f"{path} is gone, the run of {record}")
            if qat_artifacts.sha256_file(path) != ref.sha256:
                raise InputError(f"{path} has changed since it was exported to {record.parent}")
            return qat_artifacts.read(path, Run)
    raise InputError(f"{record} names no run")


def starting_detector(run: Run, trust: str | None) -> Detector:
    """The floating-point detector that a run started from; `trust` as in `load_detector`.

    Raises:
        InputError: its file is gone, another one, or not readable.
    """
    path, about = run.model.checkpoint, run.model
    if not path.startswith(SCRATCH) and not Path(path).is_file():
        raise InputError(f"{path}: the checkpoint that {run.run_id} started from is gone; put the file back")
    sha256 = "" if path.startswith(SCRATCH) else qat_artifacts.sha256_file(Path(path))
    if sha256 in ("", about.checkpoint_sha256):  # another file is not even opened
        found = load_detector(path, seed=run.training.seed, trust=trust)
        sha256 = found.sha256
    if sha256 != about.checkpoint_sha256:
        raise InputError(
            f"{path}: SHA-256 {sha256[:12]}, {run.run_id} started from {about.checkpoint_sha256[:12]}; put the "
            "file back"
        )
    return found


def comparable_model(found: Detector, source: str, names: Sequence[str], *, max_det: int) -> Any:
    """The model of a detector on its one2one head, class outputs in the order of `names`, in eval mode.

    Args:
        found: a floating-point detector.
        source: its file, for messages.
        names: classes of the exported model, by index.
        max_det: most detections of an image.

    Raises:
        InputError: other classes, or no one2one head.
    """
    if not same_classes(found.names, names):
        raise InputError(
            f"{source}: {_counted(found.names)}, the exported model knows {_counted(names)}; only weights for the same "
            "classes can be set beside it, such as those that its run started from"
        )
    model, _ = match_classes(found, names, rebuild=False)
    if set_head(model) != "one2one":
        raise InputError(f"{source}: {found.variant} has no one2one head, which the exported model uses")
    model.model[-1].max_det = max_det
    return model.eval()


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
