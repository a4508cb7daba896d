"""One stage of the ladder: all cells of a variant, then the comparison."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import filelock

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.cells import Clock, Trajectory, finish, train
from qat_ladder.compose import Resolved
from qat_ladder.dataset import DEMO, prepare
from qat_ladder.errors import Busy, ConfigError, Unavailable
from qat_ladder.estimate import seconds_per_epoch, spell
from qat_ladder.flags import Request
from qat_ladder.launch import call, say
from qat_ladder.layout import Root
from qat_ladder.plan import Plan, arm_of, extend, make_plan, read_plan
from qat_ladder.training import starting_checkpoint


@contextmanager
def held(root: Root) -> Iterator[None]:
    """Keep other ladders out of a run root.

    Raises:
        Busy: one is at work there.
        Unavailable: the root cannot be written.
    """
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(root.lock, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise Busy(f"{root.path}: another ladder is at work here; wait for it, or choose --root runs/NAME") from error
    except OSError as error:
        raise Unavailable(f"{root.path} cannot be written: {error.strerror}; choose another --root") from error
    try:
        yield
    finally:
        lock.release()


def trajectories(methods: list[Resolved], seeds: list[int], mode: str) -> list[Trajectory]:
    """Training runs of a stage: one per (arm, seed), seeds outermost so that a first comparison comes early."""
    arms: dict[str, list[Resolved]] = {}
    for method in methods:
        arms.setdefault(arm_of(method, mode), []).append(method)
    return [Trajectory(arm=arm, seed=seed, methods=tuple(of)) for seed in seeds for arm, of in arms.items()]


def describe(
    request: Request, plan: Plan, methods: list[Resolved], runs: list[Trajectory], images: tuple[int, int]
) -> str:
    """What will be done, where, and how long it may take."""
    config = methods[0].config
    lines = []
    if config.demo:
        lines.append("This is the demo: drawn images and a small checkpoint, no COCO. Your own data: --coco-root P.")
    names = ", ".join(m.config.method.name for m in methods)
    key = config.quantization
    lines += [
        f"run root   {request.root} ({len(plan.cells)} cells planned)",
        f"model      {config.model.variant} from {config.model.checkpoint}",
        f"data       {images[0]} training and {images[1]} validation images, fingerprint {plan.data_fingerprint[:12]}",
        f"training   {config.training.epochs} epochs at {config.training.imgsz} px, batch {config.training.batch}, "
        f"device {config.training.device}",
        f"weights    {key.bits} bits {key.granularity}, {key.init} scales, policy {key.policy}",
        f"methods    {names}; seeds {', '.join(map(str, request.seeds))}; {request.trajectory} trajectory",
    ]
    guesses = [seconds_per_epoch(r.methods[0].config, *images, len(r.series)) for r in runs]
    if any(g is None for g in guesses):
        lines.append(f"estimate   {len(runs)} training runs; time is known after the first epoch")
    else:
        total = sum(g * r.methods[0].config.training.epochs for g, r in zip(guesses, runs, strict=True) if g)
        lines.append(f"estimate   {len(runs)} training runs, roughly {spell(total)}; refreshed after the first epoch")
    return "\n".join(lines)


def _images(config_images: object, demo: int) -> int:
    return min(config_images, demo) if isinstance(config_images, int) else demo


def run_stage(request: Request) -> int:
    """Do what a ladder task was asked for; returns its exit code.

    Raises:
        LadderError: before the first cell, or for a reason that every cell shares.
    """
    methods = [request.resolve(name) for name in request.methods]
    for asked, method in zip(request.methods, methods, strict=True):
        if method.config.method.name != asked:
            raise ConfigError(f"--methods {asked}: its file names itself {method.config.method.name!r}")
    root = Root(request.root)
    config = methods[0].config
    runs = trajectories(methods, request.seeds, request.trajectory)
    new = make_plan(methods, request.seeds, request.trajectory)
    old = read_plan(root)
    plan = extend(old, new, root)
    if request.dry_run:
        known = (_images(config.data.train_images, DEMO["images"]), _images(config.data.val_images, DEMO["val-images"]))
        if config.demo:
            print(describe(request, plan, methods, runs, known))
        else:
            print(f"{len(plan.cells)} cells in {root.path}, {len(runs)} training runs; data are not read in a dry run")
        for cell in plan.cells:
            print(f"  {cell.variant} {cell.method} seed {cell.seed} from trajectory {cell.arm}")
        return Exit.OK
    with held(root):
        fingerprint = prepare(config, root, old.data_fingerprint if old else "", say)
        plan = attrs.evolve(plan, data_fingerprint=fingerprint)
        dataset = qat_artifacts.loads((root.data(fingerprint) / "dataset.json").read_bytes())
        say(describe(request, plan, methods, runs, (dataset["train"]["images"], dataset["val"]["images"])))
        checkpoint = starting_checkpoint(config, root, fingerprint, say)
        qat_artifacts.write(root.plan, plan, created_by="qat-ladder 0.1.0")
        clock = Clock(len(runs))
        faults = []
        for trajectory in runs:
            code = train(
                trajectory,
                root,
                dataset=root.data(fingerprint),
                checkpoint=checkpoint,
                resume=request.resume,
                clock=clock,
            )
            faults += finish(trajectory, root, code)
        print(compare(root))
    for fault in faults:
        say(f"error: {fault}")
    return Exit.CELL_FAILED if faults else Exit.OK


def summaries(root: Root) -> list[Path]:
    """Variant folders of a run root that hold summaries.

    Raises:
        ConfigError: there is none yet.
    """
    found = sorted({path.parents[2] for path in root.path.glob("yolo10?/*/seed*/run_summary.json")})
    if not found:
        raise ConfigError(f"{root.path} holds no run summary; run `invoke ladder.n --root {root.path}` first")
    return found


def compare(root: Root) -> str:
    """Write the comparison of everything in a run root; returns its table and where the page is."""
    gate: list[str | Path] = ["--gate", root.gate] if root.gate.exists() else []
    call("qat-report", "compare", *summaries(root), *gate, "--out", root.path)
    text = (root.path / "summary.md").read_text(encoding="utf-8").partition("\n## Stability")[0].strip()
    return f"{text}\n\n{root.path / 'index.html'}"
