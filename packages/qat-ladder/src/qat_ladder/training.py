"""Specifications for qat-train, and the weights they start from."""

import json
from pathlib import Path
from typing import Any

import tomli
import tomli_w

import qat_artifacts
from qat_ladder.config import Config
from qat_ladder.errors import ConfigError, InputProblem
from qat_ladder.executors.command import Executor
from qat_ladder.launch import Say, call, error_in, failure, stream
from qat_ladder.layout import Root


def specification(
    config: Config,
    *,
    run_id: str,
    seed: int,
    series: list[str],
    dataset: Path,
    checkpoint: str,
    references: Path | None,
    overrides: dict[str, Any],
) -> dict[str, Any]:
    """run.toml of one quantized training run; paths absolute."""
    training = qat_artifacts.unstructure(config.training)
    ema = qat_artifacts.unstructure(config.ema) | {"enabled": "ema" in series}
    made: dict[str, Any] = {
        "run": {"run_id": run_id, "trajectory_id": run_id, "seed": seed, "series": series},
        "model": {"variant": config.model.variant, "checkpoint": checkpoint},
        "data": {"dataset": str(dataset.absolute())},
        "training": training,
        "quantization": qat_artifacts.unstructure(config.quantization),
        "ema": ema,
        "overrides": overrides,
    }
    if config.model.trust_checkpoint:
        made["model"]["trust_checkpoint"] = config.model.trust_checkpoint
    if config.interventions:
        made["interventions"] = dict(config.interventions)
    if references is not None:
        made["references"] = {"directory": str(references.absolute())}
    return made


def pretrain_specification(config: Config, *, dataset: Path, checkpoint: str) -> dict[str, Any]:
    """The floating-point counterpart: the [pretrain] schedule, averaged weights, seed 0."""
    name = f"pretrain/{config.model.variant}"
    made = specification(
        config,
        run_id=name,
        seed=0,
        series=["ema"],
        dataset=dataset,
        checkpoint=checkpoint,
        references=None,
        overrides={},
    )
    made["training"] |= qat_artifacts.unstructure(config.pretrain)
    made["quantization"] = {"bits": 32}
    made["ema"] = {}
    made.pop("interventions", None)
    return made


def trusting(trust: str) -> list[str | Path]:
    """The option of qat-train that lets the code of one file run; nothing for "", the rule."""
    return ["--trust-checkpoint", trust] if trust else []


def write_specification(path: Path, content: dict[str, Any]) -> Path:
    """Write run.toml."""
    qat_artifacts.write_text(path, tomli_w.dumps(content))
    return path


def pretrain(
    specification: dict[str, Any],
    out: Path,
    *,
    resume: str,
    log: Path,
    prefix: str,
    executor: Executor | None = None,
) -> Path:
    """Run `qat-train pretrain`, on this machine without an executor; returns model.pt.

    Raises:
        LadderError: it failed.
    """
    spec = write_specification(out / "pretrain.toml", specification)
    options = ("--spec", spec, "--out", out, "--resume", resume)
    code = stream("qat-train", "pretrain", *options, log=log, prefix=prefix, executor=executor)
    if code:
        raise failure("qat-train", code, f"error: {error_in(log)} ({log})")
    return out / "model.pt"


def refuse_other_pretraining(folder: Path, config: Config, *, remedy: str) -> None:
    """All rows of a root start from one set of weights, made once; `remedy` ends the text beside "the same again".

    Raises:
        ConfigError: those in `folder` were made, or begun, with other keys of [pretrain].
    """
    spec = folder / "pretrain.toml"
    if not spec.is_file() or not (folder / "run.json").exists():
        return
    begun = tomli.loads(spec.read_text(encoding="utf-8"))["training"]
    asked = qat_artifacts.unstructure(config.pretrain)
    if other := [key for key in asked if begun.get(key) != asked[key]]:
        texts = ", ".join(f"pretrain.{key} = {begun.get(key)}, not {asked[key]}" for key in other)
        raise ConfigError(f"{folder} holds weights made with {texts}; give the same again, or {remedy}")


def starting_checkpoint(
    config: Config, root: Root, fingerprint: str, say: Say, executor: Executor | None = None
) -> str:
    """The checkpoint itself where its classes are the data set's, by name; otherwise one fine-tuned for them, cached.

    Raises:
        InputProblem: the file is missing or no detector.
        ConfigError: those weights are there already, made with other keys.
    """
    checkpoint = Path(config.model.checkpoint)
    if not checkpoint.is_file():
        call("qat-train", "fetch", "--checkpoint", checkpoint)
    about = json.loads(
        call("qat-train", "inspect", "--checkpoint", checkpoint, *trusting(config.model.trust_checkpoint), "--json")
    )
    dataset = qat_artifacts.loads((root.data(fingerprint) / "dataset.json").read_bytes())
    names = [c["name"] for c in dataset["classes"]]
    wanted, held = ({name.strip().lower() for name in of} for of in (names, about["names"]))  # as qat-train matches
    if wanted == held and len(names) == len(about["names"]):
        return str(checkpoint)
    shared = len(wanted & held)
    say(
        f"{shared} of the data set's {len(names)} classes are among the {about['nc']} of {checkpoint.name}: class "
        f"branches are rebuilt and the model is fine-tuned in FP32 for {config.pretrain.epochs} epochs first "
        "(pretrain.epochs)"
    )
    out = root.pretrained(about["sha256"], fingerprint)
    content = pretrain_specification(config, dataset=root.data(fingerprint), checkpoint=str(checkpoint))
    refuse_other_pretraining(out, config, remedy="another --root")
    made = pretrain(content, out, resume="auto", log=out / "log.txt", prefix="pretrain: ", executor=executor)
    if not made.is_file():
        raise InputProblem(f"{made} was not written; see {out / 'log.txt'}")
    return str(made.absolute())  # a relative one would be taken from the folder of the specification that names it
