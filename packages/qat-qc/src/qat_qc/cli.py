"""The command. torch is imported inside it."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import qat_artifacts
from qat_artifacts import Exit
from qat_qc.errors import CorrectionError, TaskError

if TYPE_CHECKING:
    from qat_qc.training import Progress

logger = logging.getLogger(__name__)

EXAMPLES = """\b
Examples:
  qat-qc run --run runs/n-seed0 --out runs/n-seed0/qc
  qat-qc run --run runs/n-seed0 --out runs/n-seed0/bn --stages bn --weights raw
  qat-qc run --run runs/n-seed0 --out runs/n-seed0/bn-beta --stages bn,qc --train beta
"""

FAILURES: dict[type[Exception], Exit] = {
    TaskError: Exit.ENVIRONMENT,
    CorrectionError: Exit.CELL_FAILED,
    qat_artifacts.ArtifactError: Exit.INPUT,
    OSError: Exit.ENVIRONMENT,
}


def _names(allowed: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """A click callback: some of the allowed names, separated by commas, in their order."""

    def parse(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in value.split(","))
        if list(found) != [name for name in allowed if name in found]:
            choices = " | ".join([*allowed, ",".join(allowed)])
            raise click.BadParameter(f"expected {choices}, found {value!r}")
        return found

    return parse


@click.group()
@click.version_option(package_name="qat-qc")
def cli() -> None:
    """Quantization Correction and batch norm re-estimation of a finished run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


class _Reporter:
    """A line for every tenth of an epoch, with the time left, judged by the images so far."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._shown = (0, -1)

    def __call__(self, progress: "Progress") -> None:
        tenth = (progress.epoch, 10 * progress.images_seen // progress.images)
        if tenth == self._shown:
            return
        self._shown = tenth
        done = (progress.epoch - 1) * progress.images + progress.images_seen
        left = progress.seconds / done * (self._epochs * progress.images - done)
        logger.info(
            "correction: %d of %d images, loss %.4f, about %d s left",
            progress.images_seen,
            progress.images,
            progress.loss,
            round(left),
        )


@cli.command(epilog=EXAMPLES)
@click.option("--run", "run_dir", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder of a completed run.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of qc.json and the checkpoint.")
@click.option(
    "--weights", type=click.Choice(["ema", "raw"]), default="ema", show_default=True, help="Start from these."
)
@click.option("--stages", default="qc", show_default=True, metavar="qc|bn|bn,qc", callback=_names(("bn", "qc")),
              help="bn re-estimates batch norm statistics, qc trains and folds corrections.")  # fmt: skip
@click.option("--train", "parameters", default="gamma,beta", show_default=True, metavar="gamma,beta|gamma|beta",
              callback=_names(("gamma", "beta")), help="What qc trains; the other stays as it is.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="Passes of qc.")
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), default=1e-4, show_default=True, help="Adam's, in qc."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Order of the images.")
@click.option("--task", help="Entry point that provides the model, where several are installed.")
@click.option("--device", help="cpu, auto or a CUDA index; the run's own by default.")
@click.option("--json", "as_json", is_flag=True, help="Print qc.json on stdout.")
def run(run_dir: Path, out: Path, task: str | None, device: str | None, as_json: bool, **options: Any) -> None:
    """Correct the final weights of a run, fold corrections away, and measure before and after."""
    from qat_qc.running import correct, load_task

    try:
        opened = load_task(run_dir, options["weights"], task=task, device=device)
    except (TaskError, qat_artifacts.ArtifactError, OSError):
        raise
    except Exception as error:
        # The provider's own refusals (an unfinished run, no such series) are errors of what was handed in.
        if type(error).__module__.partition(".")[0] == "builtins":
            raise
        raise qat_artifacts.ArtifactError(str(error)) from error
    record = correct(opened, out, inputs=(run_dir / "run.json",), report=_Reporter(options["epochs"]), **options)
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(record)), nl=False)
    else:
        click.echo(f"mAP50-95 {record.before.map50_95:.4f} before, {record.after.map50_95:.4f} after")
        click.echo(str(out / "qc.json"))


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
