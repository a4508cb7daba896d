"""`invoke pretrain.*`: floating-point weights for data of one's own, or the demo's starting checkpoint."""

import shutil
from pathlib import Path

import attrs

import qat_artifacts
from qat_ladder.config import Config
from qat_ladder.dataset import PRETRAIN, prepare
from qat_ladder.estimate import seconds_per_epoch, spell
from qat_ladder.flags import Request
from qat_ladder.launch import say
from qat_ladder.layout import Root
from qat_ladder.locking import held
from qat_ladder.training import pretrain, pretrain_specification, refuse_other_pretraining


def run_pretrain(request: Request, out: Path | None, *, quiet: bool = False) -> int:
    """Train from scratch, or from --checkpoint; the result is ROOT/<variant>/model.pt, copied to `out`.

    Its path is printed unless `quiet`.

    Raises:
        LadderError: wrong configuration, data or machine.
    """
    resolved = request.resolve("baseline")
    config = resolved.config
    scratch = not request.checkpoint
    root = Root(request.root)
    with held(root):
        known = root.path / "data.sha256"  # the root of a pretraining has no plan
        before = known.read_text(encoding="utf-8").strip() if known.exists() and request.resume != "never" else ""
        fingerprint = prepare(config, root, before, say, PRETRAIN)
        qat_artifacts.write_text(known, fingerprint + "\n")
        checkpoint = f"scratch:{config.model.architecture}" if scratch else config.model.checkpoint
        content = pretrain_specification(config, dataset=root.data(fingerprint), checkpoint=checkpoint)
        run = root.path / config.model.variant
        say(
            f"pretraining {config.model.variant} from {checkpoint}, {config.pretrain.epochs} epochs, in {run}"
            f"{_how_long(config, root, fingerprint)}"
        )
        model = pretrain(content, run, resume=request.resume, log=run / "log.txt", prefix="pretrain: ")
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model, out)
            model = out
    if not quiet:
        print(model)
    return 0


def _how_long(config: Config, root: Root, fingerprint: str) -> str:
    found = qat_artifacts.loads((root.data(fingerprint) / "dataset.json").read_bytes())
    one = seconds_per_epoch(config, found["train"]["images"], found["val"]["images"], 1)
    return f": roughly {spell(one * config.pretrain.epochs)}, once" if one else ""


def demo_weights(request: Request, checkpoint: Path) -> None:
    """Weights for the drawn data: shipped, made before, or made now as `invoke pretrain.*` makes them, and kept.

    Raises:
        LadderError: see `run_pretrain`; those that are there were made with other keys than are given now.
    """
    if checkpoint != request.demo_pretrained().absolute():
        return
    given = tuple(text for text in request.settings if text.startswith("pretrain."))
    asked = attrs.evolve(
        request,
        profile="demo",
        checkpoint="",
        root=checkpoint.parents[1],
        resume="auto",
        config=(),
        settings=given,
    )
    if checkpoint.is_file():
        if given:
            own = asked.resolve("baseline").config
            refuse_other_pretraining(checkpoint.parent, own, remedy="remove that folder to make them anew")
        return
    say(f"no checkpoint of {request.variant} for the drawn data is shipped; it is made first and kept in {checkpoint}")
    run_pretrain(asked, None, quiet=True)
