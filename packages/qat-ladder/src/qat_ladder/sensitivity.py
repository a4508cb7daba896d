"""`invoke sensitivity.*`: what each layer alone loses, and a mixed policy that a ladder may use."""

import shlex
from pathlib import Path

from qat_ladder.config import Config
from qat_ladder.dataset import prepare
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request
from qat_ladder.launch import error_in, failure, say, stream
from qat_ladder.layout import Root
from qat_ladder.locking import held
from qat_ladder.pretraining import demo_weights
from qat_ladder.training import specification, starting_checkpoint, write_specification


def parse_budget(text: str) -> float | None:
    """Bits of `4.5`; None of "": qat-train then allows half a bit more than the policy needs.

    Raises:
        ConfigError: no number from 2 to 8.
    """
    try:
        budget = float(text) if text else None
    except ValueError:
        budget = 0.0
    if budget is not None and not 2 <= budget <= 8:
        raise ConfigError(f"--budget {text!r}: expected average bits per quantized weight from 2 to 8, such as 4.5")
    return budget


def run_sensitivity(request: Request, budget: str = "") -> int:
    """Prepare data and checkpoint as a ladder does, scan, and print the table, the policy and how to use it.

    Everything lies below ROOT/<variant>/; a scan that was cut off continues there.

    Raises:
        LadderError: wrong configuration, data or machine, or a root that holds another scan.
    """
    allowed = parse_budget(budget)
    config = request.resolve("baseline").config
    root = Root(request.root)
    out = root.path / config.model.variant
    log = out / "log.txt"
    with held(root):
        fingerprint = prepare(config, root, "", say)
        if config.demo:
            demo_weights(request, Path(config.model.checkpoint))
        checkpoint = starting_checkpoint(config, root, fingerprint, say)
        content = specification(
            config,
            run_id=f"sensitivity/{config.model.variant}",
            seed=0,
            series=["raw"],
            dataset=root.data(fingerprint),
            checkpoint=checkpoint,
            references=root.references,
            overrides={},
        )
        content["training"]["device"] = config.training.first_device
        spec = write_specification(out / "run.toml", content)
        say(_describe(config, out, log))
        options = ["--budget", str(allowed)] if allowed is not None else []
        code = stream("qat-train", "sensitivity", "--spec", spec, "--out", out, *options, log=log, prefix="")
    if code:
        raise failure("qat-train", code, f"error: {error_in(log)} ({log})")
    policy = out / "policy.toml"
    print((out / "summary.md").read_text(encoding="utf-8"))
    print(f"{policy}\n{command(request, policy)}")
    return 0


def _describe(config: Config, out: Path, log: Path) -> str:
    key = config.quantization
    return (
        f"each layer of {config.model.variant} alone at {key.bits} bits {key.granularity}, {key.init} scales, policy "
        f"{key.policy}, {config.training.imgsz} px, in {out}; log in {log}"
    )


def command(request: Request, policy: Path) -> str:
    """Command line of a ladder that uses the policy, with the flags of this scan and a run root of its own."""
    words = ["invoke", f"ladder.{request.variant[-1]}"]
    for flag, value in (
        ("--profile", request.profile),
        ("--coco-root", request.coco_root),
        ("--checkpoint", request.checkpoint),
        ("--trust-checkpoint", request.trust_checkpoint),
        ("--device", request.device),
    ):
        words += [flag, value] if value else []
    words += [word for name in request.config for word in ("--config", name)]
    words += [
        word
        for text in request.settings
        if text.partition("=")[0].strip() != "quantization.policy"
        for word in ("--set", text)
    ]
    root = request.root.parent / f"mixed-{request.variant}"
    return shlex.join([*words, "--set", f"quantization.policy={policy}", "--root", str(root)])
