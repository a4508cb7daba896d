"""Commands of qat-data."""

import sys
from pathlib import Path
from typing import Any

import click

import qat_artifacts
from qat_artifacts import Exit
from qat_data.errors import DataError, MissingPackage, RequestError
from qat_data.evaluators import CHOICES

FAILURES: dict[type[Exception], Exit] = {
    RequestError: Exit.USAGE,
    DataError: Exit.INPUT,
    MissingPackage: Exit.ENVIRONMENT,
    qat_artifacts.ArtifactError: Exit.INPUT,
    OSError: Exit.ENVIRONMENT,
}

_COCO_FLAGS = ("train_json", "train_dir", "val_json", "val_dir")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")

_PREPARE_EXAMPLES = """\b
Examples:
  qat-data prepare --coco-root coco --out data --train-images 2048 --val-images 256
  qat-data prepare --data my.yaml --out data
  qat-data prepare --coco-root coco --out labels --labels-only
"""
_CHECK_EXAMPLES = """\b
Examples:
  qat-data check runs/ladder/data/0123456789ab
  qat-data check coco
"""
_SYNTH_EXAMPLES = """\b
Examples:
  qat-data synth --out shapes --images 192 --seed 0
  qat-data synth --out large --images 118287 --val-images 5000 --annotations-only
"""
_EVALUATE_EXAMPLES = """\b
Examples:
  qat-data evaluate --dataset data --detections detections.json --out coco_eval.json
  qat-data evaluate --annotations instances_val2017.json --detections detections.json
"""


def _progress(line: str) -> None:
    click.echo(qat_artifacts.printable(line), err=True)


@click.group()
@click.version_option(package_name="qat-data")
def cli() -> None:
    """COCO data sets: checked, deterministic subsets with provenance, as a YOLO view."""


def _read(coco_root: Path | None, data: Path | None, names: dict[str, str | None]) -> Any:
    given = {key: value for key, value in names.items() if value is not None}
    if (coco_root is None) == (data is None):
        raise RequestError("exactly one of --coco-root and --data is needed")
    if coco_root is not None:
        from qat_data.coco import CocoLayout, read_coco

        return read_coco(CocoLayout(root=coco_root, **given))
    if given:
        flags = ", ".join("--" + key.replace("_", "-") for key in given)
        raise RequestError(f"{flags}: only with --coco-root")
    from qat_data.yolo import read_yolo

    assert data is not None
    return read_yolo(data)


@cli.command(epilog=_PREPARE_EXAMPLES)
@click.option("--coco-root", type=click.Path(path_type=Path), help="Folder in COCO2017 layout.")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help="A YOLO data.yaml instead.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new folder.")
@click.option("--train-images", type=click.IntRange(min=1), help="At most N images; all by default.")
@click.option("--val-images", type=click.IntRange(min=1), help="At most N images; all by default.")
@click.option("--data-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the hash order.")
@click.option("--train-selection", default="hash", show_default=True, help="hash, first or list:FILE.")
@click.option("--val-selection", default="first", show_default=True, help="first (by image id), hash or list:FILE.")
@click.option("--train-json", help="Annotation file below the COCO root.")
@click.option("--train-dir", help="Image folder below the COCO root.")
@click.option("--val-json", help="As --train-json.")
@click.option("--val-dir", help="As --train-dir.")
@click.option("--allow-missing", type=click.IntRange(min=0), default=0, show_default=True,
              help="Leave out up to N unusable images of a split: missing, broken, too small.")  # fmt: skip
@click.option("--labels-only", is_flag=True,
              help="Labels, lists and data.yaml alone: no image is looked at; none can be trained on.")  # fmt: skip
@json_option
def prepare(
    coco_root: Path | None, data: Path | None, out: Path, labels_only: bool, as_json: bool, **options: Any
) -> None:
    """Make a checked, deterministic subset; the source is only read."""
    from qat_data.prepare import Request
    from qat_data.prepare import prepare as write

    names = {key: options.pop(key) for key in _COCO_FLAGS}
    if labels_only:
        from qat_data.labelling import write_labels_only
        from qat_data.text import describe_labels

        labelled = write_labels_only(_read(coco_root, data, names), out, Request(**options), _progress)
        text = qat_artifacts.dumps(qat_artifacts.unstructure(labelled)) if as_json else describe_labels(labelled) + "\n"
        click.echo(text if as_json else qat_artifacts.printable(text), nl=False)
        return
    record = write(_read(coco_root, data, names), out, Request(**options), _progress)
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(record)), nl=False)
        return
    from qat_data.text import describe

    click.echo(qat_artifacts.printable(describe(record)))
    click.echo(str(out / "dataset.json"))


@cli.command(epilog=_CHECK_EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def check(path: Path, as_json: bool) -> Exit:
    """Check PATH: a prepared folder against its dataset.json, or a COCO root or data.yaml as `prepare` would."""
    from qat_data.check import check_any
    from qat_data.text import describe_check

    checked = check_any(path, _progress)
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(checked)), nl=False)
    else:
        click.echo(qat_artifacts.printable(describe_check(checked)))
    return Exit.INPUT if checked.faults else Exit.OK


@cli.command(epilog=_SYNTH_EXAMPLES)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new COCO root.")
@click.option("--images", type=click.IntRange(min=1), default=192, show_default=True, help="Training images.")
@click.option("--val-images", type=click.IntRange(min=1), help="Validation images; a third of --images by default.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The images depend on it.")
@click.option("--imgsz", type=click.IntRange(min=32), default=160, show_default=True, help="Longer side in pixels.")
@click.option("--annotations-only", is_flag=True,
              help="No images: annotation files of COCO's shape; of its size at --images 118287.")  # fmt: skip
@json_option
def synth(  # noqa: PLR0917  # click passes options by name
    out: Path, images: int, val_images: int | None, seed: int, imgsz: int, annotations_only: bool, as_json: bool
) -> None:
    """Draw a data set in COCO2017 layout: six classes that only their shape tells apart."""
    from qat_data.bulk import write_annotations
    from qat_data.synth import synthesize

    numbers = {"train_images": images, "val_images": val_images or max(1, images // 3), "seed": seed}
    if annotations_only:
        write_annotations(out, **numbers, progress=_progress)
    else:
        numbers["imgsz"] = imgsz
        synthesize(out, **numbers, progress=_progress)
    click.echo(qat_artifacts.dumps({"coco_root": str(out), **numbers}) if as_json else f"{out}\n", nl=False)


@cli.command(epilog=_EVALUATE_EXAMPLES)
@click.option("--dataset", type=click.Path(path_type=Path), help="A prepared folder, or its dataset.json.")
@click.option("--annotations", type=click.Path(dir_okay=False, path_type=Path),
              help="A COCO annotation file instead: all its images.")  # fmt: skip
@click.option("--detections", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="COCO results: a list of {image_id, category_id, bbox [x, y, w, h] in pixels, score}.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The coco_eval.json to write.")
@click.option("--evaluator", type=click.Choice(CHOICES), default="auto", show_default=True,
              help="auto: the faster one where it is installed; both give the same numbers.")  # fmt: skip
@json_option
def evaluate(  # noqa: PLR0917  # click passes options by name
    dataset: Path | None, annotations: Path | None, detections: Path, out: Path | None, evaluator: str, as_json: bool
) -> None:
    """COCO metrics of detections on the val split of a prepared data set: AP, AR, by size and by class."""
    from qat_data.detections import read_detections
    from qat_data.evaluate import evaluate as count
    from qat_data.text import describe_evaluation
    from qat_data.truth import read_annotations, read_truth

    if dataset is not None and annotations is None:
        truth = read_truth(dataset)
    elif annotations is not None and dataset is None:
        truth = read_annotations(annotations)
    else:
        raise RequestError("exactly one of --dataset and --annotations is needed")
    found = read_detections(detections, truth)
    evaluation = count(truth, found, evaluator=evaluator, progress=_progress)
    if out is not None:
        qat_artifacts.write(out, evaluation, inputs=[*truth.files, detections])
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(evaluation)), nl=False)
        return
    click.echo(describe_evaluation(evaluation))
    if out is not None:
        click.echo(str(out))


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
