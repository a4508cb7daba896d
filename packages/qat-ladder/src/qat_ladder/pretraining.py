"""`invoke pretrain.*`: floating-point weights for data of one's own, or the demo's starting checkpoint."""

import shutil
from pathlib import Path

import qat_artifacts
from qat_ladder.dataset import PRETRAIN, prepare
from qat_ladder.flags import Request
from qat_ladder.launch import say
from qat_ladder.layout import Root
from qat_ladder.stage import held
from qat_ladder.training import pretrain, pretrain_specification


def run_pretrain(request: Request, out: Path | None) -> int:
    """Train from scratch, or from --checkpoint; the result is ROOT/<variant>/model.pt, copied to `out`.

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
        say(f"pretraining {config.model.variant} from {checkpoint}, {config.pretrain.epochs} epochs, in {run}")
        model = pretrain(content, run, resume=request.resume, log=run / "log.txt", prefix="pretrain: ")
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model, out)
            model = out
    print(model)
    return 0
