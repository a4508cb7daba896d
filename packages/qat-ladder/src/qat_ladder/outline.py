"""What a stage will do, where, and how long it may take, in lines for people: said before anything is trained."""

from pathlib import Path

from qat_ladder.cells import Trajectory, cells_from
from qat_ladder.compose import Resolved
from qat_ladder.config import Config
from qat_ladder.estimate import START_UP, seconds_per_epoch, spell
from qat_ladder.flags import Request
from qat_ladder.layout import Root
from qat_ladder.plan import Plan
from qat_ladder.status import epochs_done


def describe(
    request: Request, plan: Plan, methods: list[Resolved], runs: list[Trajectory], images: tuple[int, int] | None
) -> str:
    """What will be done, where, and how long it may take."""
    config = methods[0].config
    lines = []
    if config.demo:
        lines.append("This is the demo: drawn images and a small checkpoint, no COCO. Your own data: --coco-root P.")
    names = ", ".join(m.config.method.name for m in methods)
    key = config.quantization
    absent = not config.demo and not Path(config.data.coco_root).exists()
    unknown = "not there: give another --coco-root" if absent else "not prepared yet"
    counts = f"{images[0]} training and {images[1]} validation images" if images else unknown
    mark = f", fingerprint {plan.data_fingerprint[:12]}" if plan.data_fingerprint else ""
    lines += [
        f"run root   {request.root} ({len(plan.cells)} cells planned)",
        f"model      {config.model.variant} from {config.model.checkpoint}{_absent(config)}",
        f"data       {config.data.coco_root}: {counts}{mark}",
        f"training   profile {methods[0].profile}: {config.training.epochs} epochs at {config.training.imgsz} px, "
        f"batch {config.training.batch}, learning rate {config.training.lr0}, device {config.training.device}",
        f"weights    {key.bits} bits {key.granularity}, {key.init} scales, policy {key.policy}"
        if key.bits != 32
        else "weights    floating point",
        f"methods    {names}; seeds {', '.join(map(str, request.seeds))}; {request.trajectory} trajectory",
        *_arms(runs),
        f"estimate   {_estimate(request, runs, images)}",
        *_short_of(config),
    ]
    return "\n".join(lines)


def _short_of(config: Config) -> list[str]:
    """Fewer evaluations than a class takes: every run would be `insufficient`, and the gate NO-GO."""
    epochs = config.training.epochs
    return [f"note       {epochs} epochs are too few to call a run stable: 5 are needed"] if epochs < 5 else []


def _arms(runs: list[Trajectory]) -> list[str]:
    """Which rows come from which training run, where there are several per seed."""
    arms = {run.arm: ", ".join(m.config.method.name for m in run.methods) for run in runs}
    return [f"  {arm}: {names}" for arm, names in arms.items()] if len(arms) > 1 else []


def _absent(config: Config) -> str:
    """What happens where the starting weights are not there."""
    if Path(config.model.checkpoint).is_file():
        return ""
    return " (not there: made first)" if config.demo else " (not there: fetched from Ultralytics, or an error)"


def _estimate(request: Request, runs: list[Trajectory], images: tuple[int, int] | None) -> str:
    """Of the epochs that are left to train."""
    left = [
        r.methods[0].config.training.epochs - _epochs(Root(request.root), r) * (request.resume != "never") for r in runs
    ]
    text = f"{sum(n > 0 for n in left)} of {len(runs)} training runs have epochs left"
    guesses = [seconds_per_epoch(r.methods[0].config, *images, len(r.series)) if images else None for r in runs]
    if any(guess is None for guess in guesses):
        return f"{text}; time is known after the first epoch, or before it from `invoke ladder.plan --measure 20`"
    total = sum(g * n + START_UP for g, n in zip(guesses, left, strict=True) if g and n > 0)
    return f"{text}, roughly {spell(total)}; refreshed after the first epoch"


def _epochs(root: Root, run: Trajectory) -> int:
    return epochs_done(root, cells_from(run)[0])
