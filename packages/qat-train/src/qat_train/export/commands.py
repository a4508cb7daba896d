"""The commands of this sub-package; torch, onnx and ONNX Runtime are imported inside them."""

from pathlib import Path
from typing import Any

import click

import qat_artifacts
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.errors import SpecError
from qat_train.trust import trust_option

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.command()
@click.option("--run", "run_dir", type=click.Path(path_type=Path), required=True, help="Folder of a completed run.")
@click.option("--qc", type=click.Path(path_type=Path), help="What qat-qc wrote, for a method with a correction.")
@click.option("--method", required=True, help="Which row of the comparison: baseline, ema, ema+qc, learned+ema, ...")
@click.option("--series", type=click.Choice(["raw", "ema"]), help="Its weights, where the method's name does not say.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the files.")
@click.option("--dataset", type=click.Path(path_type=Path), help="The run's prepared data, if it has moved.")
@click.option("--benchmark", is_flag=True, help="Measure latency, FP32 against INT4, too.")
@trust_option
@json_option
def export(run_dir: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write the 4-bit model as packed safetensors and as INT4 ONNX, and prove that both are the trained one.

    Example: qat-train export --run runs/n-seed0 --qc runs/n-seed0/qc --method ema+qc --out runs/n-seed0/export
    """
    from qat_train.export.runtime import require_packages

    require_packages()
    threads = prepare_environment()
    with quiet_stdout():
        from qat_train.export.exporting import export_run
        from qat_train.export.record import describe

        record = export_run(run_dir, out, threads=threads, **options)
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(record)), nl=False)
    else:
        click.echo(f"{describe(record)}\n{out / 'export.json'}")


@click.command("verify-export")
@click.option("--export", "folder", type=click.Path(path_type=Path), required=True, help="Folder that export wrote.")
@json_option
def verify_export(folder: Path, as_json: bool) -> None:
    """Check the files of an export against each other: hashes, formats, codes, scales, biases; exit 3 if any differs.

    Example: qat-train verify-export --export runs/n-seed0/export
    """
    from qat_train.export.runtime import require_packages

    require_packages()
    prepare_environment()
    with quiet_stdout():
        from qat_train.export.record import describe
        from qat_train.export.verifying import verify_export as verify

        record = verify(folder)
    click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(record)) if as_json else f"{describe(record)}\n", nl=False)


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True, help="model.onnx of an export.")
@click.option(
    "--image", "images", type=click.Path(path_type=Path), required=True, multiple=True, help="May be repeated."
)
@click.option("--conf", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Lowest score.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Draw both sides into pictures here.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Floating-point checkpoint, a .pt file; without, the one that the exported run started from.",
)
@trust_option
@json_option
def predict(model: Path, images: tuple[Path, ...], conf: float, as_json: bool, **options: Any) -> None:
    """Detect objects in images with an exported model, on ONNX Runtime, and with the FP32 checkpoint beside it.

    Example: qat-train predict --model runs/n-seed0/export/model.onnx --image photo.jpg --out drawn
    """
    from qat_train.export.runtime import require_packages

    require_packages()
    prepare_environment()
    with quiet_stdout():
        from qat_train.export.predicting import describe
        from qat_train.export.predicting import predict as detect

        found = detect(model, images, confidence=conf, **options)
    if as_json:
        click.echo(qat_artifacts.dumps([qat_artifacts.unstructure(prediction) for prediction in found]), nl=False)
    else:
        click.echo(qat_artifacts.printable(describe(found)))


@click.command("compressed-tensors")
@click.option("--export", "folder", type=click.Path(path_type=Path), required=True, help="Folder that export wrote.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the files.")
def compressed_tensors(folder: Path, out: Path) -> None:
    """Write an export's weights again as matrices in compressed-tensors' layout "pack-quantized".

    Example: qat-train compressed-tensors --export runs/n-seed0/export --out runs/n-seed0/compressed-tensors
    """
    if out.resolve() == folder.resolve():
        raise SpecError(f"--out {out}: is the export itself, whose model.safetensors would be replaced; name another")
    prepare_environment()
    with quiet_stdout():
        from qat_train.export.pack_quantized import write_pack_quantized
        from qat_train.export.packed import read_packed

        write_pack_quantized(out, read_packed(folder / "model.safetensors"))
    click.echo(str(out))


COMMANDS: tuple[click.Command, ...] = (export, verify_export, predict, compressed_tensors)
