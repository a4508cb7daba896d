"""Commands of qat-train. torch and Ultralytics are imported inside the commands that need them."""

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

import qat_artifacts
from qat_artifacts import Exit
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.errors import Busy, Diverged, InputError, NotProven, ResourceError, SpecError
from qat_train.export.commands import COMMANDS
from qat_train.trust import trust_option

if TYPE_CHECKING:
    from qat_train.spec import RunSpec

FAILURES: dict[type[Exception], Exit] = {
    SpecError: Exit.USAGE,
    InputError: Exit.INPUT,
    qat_artifacts.ArtifactError: Exit.INPUT,
    Busy: Exit.BUSY,
    Diverged: Exit.CELL_FAILED,
    NotProven: Exit.CELL_FAILED,
    ResourceError: Exit.ENVIRONMENT,
    OSError: Exit.ENVIRONMENT,
}

resume_option = click.option(
    "--resume",
    type=click.Choice(["auto", "never", "must"]),
    default="auto",
    show_default=True,
    help="Continue a run that was cut off: if there is one, never (start over), or fail if there is none.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group()
@click.version_option(package_name="qat-train")
def cli() -> None:
    """W4A16 quantization-aware training of an Ultralytics detector with ModelOpt."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # whatever started us may be distributed itself
        os.environ.pop(name, None)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


@cli.command()
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="Run specification, TOML.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@resume_option
@trust_option
@json_option
def run(spec_path: Path, out: Path, resume: Any, trust: str | None, as_json: bool) -> None:
    """Train one trajectory; validate raw and averaged weights every epoch.

    Example: qat-train run --spec run.toml --out runs/n-seed0
    """
    _train(_read(spec_path, trust), out, resume, as_json, pretrain=False)


@cli.command()
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="Specification, bits = 32.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; the weights are its model.pt.")
@resume_option
@trust_option
@json_option
def pretrain(spec_path: Path, out: Path, resume: Any, trust: str | None, as_json: bool) -> None:
    """Train or fine-tune floating-point weights; classes may differ from the checkpoint's.

    Example: qat-train pretrain --spec pretrain.toml --out runs/pretrain-n
    """
    spec = _read(spec_path, trust)
    if spec.quantization.enabled:
        raise SpecError(f"{spec_path}: quantization.bits must be 32 for this command")
    _train(spec, out, resume, as_json, pretrain=True)


@cli.command()
@click.option("--checkpoint", required=True, help="A .pt file.")
@trust_option
@json_option
def inspect(checkpoint: str, trust: str | None, as_json: bool) -> None:
    """Say what a checkpoint holds, without running its code.

    Example: qat-train inspect --checkpoint yolov10n.pt --json
    """
    prepare_environment()
    with quiet_stdout():
        from qat_train.detector import load_detector

        found = load_detector(checkpoint, trust=trust)
    parameters = sum(p.numel() for p in found.model.parameters())
    about = {
        "variant": found.variant,
        "names": list(found.names),
        "nc": len(found.names),
        "parameters": parameters,
        "sha256": found.sha256,
        "imgsz": found.imgsz,
    }
    text = "\n".join(f"{key}: {value}" for key, value in about.items())
    click.echo(json.dumps(about) if as_json else qat_artifacts.printable(text))


@cli.command()
@click.option("--checkpoint", required=True, help="A .pt file, or scratch:yolov10m for the architecture alone.")
@click.option("--policy", default="default", show_default=True, help="A shipped layer policy, or a .toml file.")
@click.option("--bits", type=click.IntRange(2, 8), default=4, show_default=True, help="Width of the policy's base.")
@trust_option
@json_option
def layers(checkpoint: str, policy: str, bits: int, trust: str | None, as_json: bool) -> None:
    """List the convolutions of a detector with their structural type and the bits that a policy gives them.

    Example: qat-train layers --checkpoint scratch:yolov10m --policy default
    """
    prepare_environment()
    with quiet_stdout():
        from qat_train.detector import convolution_sites, load_detector, reparameterise
        from qat_train.insertion import describe_layers
        from qat_train.policy import assign_bits, load_policy

        model = load_detector(checkpoint, trust=trust).model
        reparameterise(model)
        found = describe_layers(model, assign_bits(load_policy(policy), convolution_sites(model), bits))
    if as_json:
        click.echo(json.dumps([qat_artifacts.unstructure(layer) for layer in found]))
        return
    for layer in found:
        click.echo(qat_artifacts.printable(f"{layer.bits or 'float':>5}  {layer.type:45} {layer.name}"))


@cli.command()
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where it belongs.")
@json_option
def fetch(checkpoint: Path, as_json: bool) -> None:
    """Fetch official Ultralytics weights by their file name, unless the file is there.

    Example: qat-train fetch --checkpoint yolov10n.pt
    """
    prepare_environment()
    with quiet_stdout():
        from qat_train.official import fetch_official

        fetch_official(checkpoint)
    if as_json:
        click.echo(json.dumps({"checkpoint": str(checkpoint), "sha256": qat_artifacts.sha256_file(checkpoint)}))
    else:
        click.echo(str(checkpoint))


@cli.command()
@click.option("--run", "run_dir", type=click.Path(path_type=Path), required=True, help="Folder of a completed run.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where audit.json goes.")
@click.option("--evaluate", is_flag=True, help="Also the mAP of raw and EMA weights with each other's statistics.")
@click.option("--device", help="cpu, auto or a CUDA index, for --evaluate; the run's own without.")
@json_option
def audit(run_dir: Path, out: Path, evaluate: bool, device: str | None, as_json: bool) -> None:
    """Say which codes differ between the raw and the averaged weights of a run, and why EMA helps it.

    Example: qat-train audit --run runs/n-seed0 --out runs/n-seed0/audit.json --evaluate
    """
    threads = prepare_environment()
    with quiet_stdout():
        from qat_train.audit import audit as examine
        from qat_train.audit import describe, read_run

        record = examine(run_dir, evaluate=evaluate, device=device, threads=threads)
        qat_artifacts.write(out, record, inputs=read_run(run_dir)[1])
    _show(record, describe(record), as_json)


@cli.command()
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="Run specification, TOML.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the scan.")
@click.option("--bits-high", type=click.IntRange(3, 8), default=8, show_default=True, help="Width of raised layers.")
@click.option("--budget", type=float, help="Average bits per quantized weight; half a bit above the base without.")
@trust_option
@json_option
def sensitivity(  # noqa: PLR0917  # click makes a parameter of every option
    spec_path: Path, out: Path, bits_high: int, budget: float | None, trust: str | None, as_json: bool
) -> None:
    """Measure what each layer alone loses at the specification's bits, and write a mixed policy within a budget.

    A scan that was cut off continues; another budget for a finished one costs a single evaluation.

    Example: qat-train sensitivity --spec run.toml --out runs/sensitivity-n --budget 4.5
    """
    spec = _read(spec_path, trust)
    threads = prepare_environment(spec.training.threads)
    with quiet_stdout():
        from qat_train.ranking import describe
        from qat_train.sensitivity import scan

        record = scan(spec, out, bits_high=bits_high, budget=budget, threads=threads)
    _show(record, describe(record), as_json)


@cli.command()
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="Run specification, TOML.")
@click.option("--policy", "policies", multiple=True, help="A layer policy to try; may be repeated. The spec's without.")
@click.option(
    "--init",
    "inits",
    multiple=True,
    type=click.Choice(["max", "mse", "outputs", "gptq"]),
    help="Of scales (gptq: of weights too); may be repeated.",
)
@trust_option
@json_option
def ptq(spec_path: Path, policies: tuple[str, ...], inits: tuple[Any, ...], trust: str | None, as_json: bool) -> None:
    """Measure what quantization alone costs, for layer policies side by side; nothing is trained.

    Example: qat-train ptq --spec run.toml --policy default --policy small-8 --init mse --init gptq
    """
    spec = _read(spec_path, trust)
    threads = prepare_environment(spec.training.threads)
    with quiet_stdout():
        from qat_train.untrained import compare, describe

        found = list(compare(spec, policies=policies, inits=inits, threads=threads))
    click.echo(json.dumps([qat_artifacts.unstructure(one) for one in found]) if as_json else describe(found))


@cli.command()
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="Run specification, TOML.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where pace.json goes.")
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="To measure, after a warm-up.")
@trust_option
@json_option
def pace(spec_path: Path, out: Path, steps: int, trust: str | None, as_json: bool) -> None:
    """Measure what a step and an evaluation of a run cost on this machine; nothing that it trains is kept.

    Example: qat-train pace --spec run.toml --out pace.json --steps 20
    """
    spec = _read(spec_path, trust)
    threads = prepare_environment(spec.training.threads)
    with quiet_stdout():
        from qat_train.pace import describe, measure

        # Imports are one thread's work: CPU time of the process is how long they took.
        record = measure(spec, steps=steps, threads=threads, before=time.process_time())
        qat_artifacts.write(out, record)
    _show(record, describe(record), as_json)


for command in COMMANDS:
    cli.add_command(command)


def _show(record: qat_artifacts.Record, text: str, as_json: bool) -> None:
    shown = qat_artifacts.printable(f"{text.rstrip()}\n")
    click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(record)) if as_json else shown, nl=False)


def _read(spec_path: Path, trust: str | None) -> "RunSpec":
    """The specification, its model.trust_checkpoint replaced by the option."""
    from qat_train.spec import read_spec

    spec = read_spec(spec_path)
    return spec if trust is None else attrs.evolve(spec, model=attrs.evolve(spec.model, trust_checkpoint=trust))


def _train(spec: "RunSpec", out: Path, resume: Any, as_json: bool, *, pretrain: bool) -> None:
    from qat_train import ranks

    count = ranks.check(spec)
    ranks.become_first(count)
    threads = prepare_environment(spec.training.threads or ranks.share_of_cores(spec.training.device))
    with quiet_stdout():
        from qat_train.progress import EpochReporter
        from qat_train.runner import execute

        done = execute(spec, out, resume=resume, threads=threads, pretrain=pretrain, report=EpochReporter())
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(done)), nl=False)
    else:
        click.echo(str(out / ("model.pt" if pretrain else "run.json")))


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
