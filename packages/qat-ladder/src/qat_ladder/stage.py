"""One stage of the ladder: all cells of a variant, then the comparison."""

import functools
from collections.abc import Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import get_args

import attrs
import tomli

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.cells import Trajectory, cells_from, finish, leave, train
from qat_ladder.compose import Resolved
from qat_ladder.dataset import image_counts, prepare
from qat_ladder.driving import Work, drive
from qat_ladder.errors import ConfigError, LadderError
from qat_ladder.estimate import Clock
from qat_ladder.executors.choice import open_executor
from qat_ladder.executors.command import Executor
from qat_ladder.flags import Request
from qat_ladder.launch import call, say
from qat_ladder.layout import Root
from qat_ladder.live import Board, board
from qat_ladder.locking import held
from qat_ladder.outline import describe
from qat_ladder.places import Place, places_of
from qat_ladder.plan import Plan, Weights, arm_of, binding_plan, cells_of, extend, make_plan
from qat_ladder.pretraining import demo_weights
from qat_ladder.status import cell_status, line
from qat_ladder.training import starting_checkpoint
from qat_ladder.version import CREATED_BY


def trajectories(methods: list[Resolved], seeds: list[int], plan: Plan) -> list[Trajectory]:
    """Training runs of a stage: one per (arm, seed), seeds outermost so that a first comparison comes early.

    Args:
        methods: of one variant.
        seeds: of this stage.
        plan: holds their cells, and those of earlier calls, whose series are validated too.
    """
    arms: dict[str, list[Resolved]] = {}
    for method in methods:
        arms.setdefault(arm_of(method, plan.trajectory), []).append(method)
    made = []
    for seed in seeds:
        for arm, of in arms.items():
            cells = cells_of(plan, of[0].config.model.variant, arm, seed)
            needed = {cell.weights for cell in cells}
            series = tuple(name for name in get_args(Weights) if name in needed)
            made.append(Trajectory(arm=arm, seed=seed, methods=tuple(of), series=series))
    return made


def check_series(root: Root, runs: list[Trajectory], plan: Plan, resume: str) -> None:
    """Every run that was begun validates what its rows need; one that starts over gives all of its rows anew.

    Raises:
        ConfigError: otherwise, with the remedy.
    """
    for run in runs:
        spec = root.trajectory(run.variant, run.arm, run.seed) / "run.toml"
        exists = (spec.parent / "run.json").exists()  # a run that was refused at once binds nobody
        begun = tuple(tomli.loads(spec.read_text(encoding="utf-8"))["run"]["series"]) if exists else run.series
        rows = [cell.method for cell in cells_of(plan, run.variant, run.arm, run.seed)]
        remedy = f"--resume never --methods {','.join(rows)}"
        if resume != "never" and begun != run.series:
            raise ConfigError(
                f"{spec.parent} validates {' and '.join(begun)} weights, {' and '.join(run.series)} are needed now; "
                f"choose another root (--root runs/NAME), or train it anew ({remedy})"
            )
        if resume == "never" and exists and set(rows) - {m.config.method.name for m in run.methods}:
            raise ConfigError(f"{spec.parent} would be trained anew: name all rows that come from it ({remedy})")


def resolve_rows(request: Request) -> list[Resolved]:
    """The configuration of each method asked for.

    Raises:
        ConfigError: every fault at once, or a method is another than its file says.
    """
    methods = [request.resolve(name) for name in request.methods]
    for asked, method in zip(request.methods, methods, strict=True):
        if method.config.method.name != asked:
            raise ConfigError(f"--methods {asked}: its file names itself {method.config.method.name!r}")
    return methods


def run_stage(request: Request, shown: Board | None = None) -> int:
    """Do what a ladder task was asked for; returns its exit code.

    Args:
        request: what was asked for.
        shown: where progress goes; a board of its own without one.

    Raises:
        LadderError: before the first cell, or for a reason that every cell shares.
    """
    methods = resolve_rows(request)
    root = Root(request.root)
    config = methods[0].config
    new = make_plan(methods, request.seeds, request.trajectory)
    old = binding_plan(root)
    plan = extend(old, new, root)
    runs = trajectories(methods, request.seeds, plan)
    check_series(root, runs, plan, request.resume)
    places = places_of(config, len(runs))
    if request.resume == "must" and (old is None or set(plan.cells) != set(old.cells)):
        raise ConfigError(f"--resume must: {root.plan} does not hold all of these cells; use --resume auto to add them")
    if request.dry_run:
        known = old.data_fingerprint if old else ""
        print(describe(request, plan, methods, runs, image_counts(config, root, known)))
        for cell in (cell for run in runs for cell in cells_from(run)):
            print(f"  {line(cell_status(root, cell))}, from trajectory {cell.arm}")
        return Exit.OK
    with held(root), closing(open_executor(config, root)) as executor:
        fingerprint = prepare(config, root, old.data_fingerprint if old else "", say)
        override = request.gate_override or plan.gate_override
        plan = attrs.evolve(plan, data_fingerprint=fingerprint, gate_override=override)
        say(describe(request, plan, methods, runs, image_counts(config, root, fingerprint)))
        if config.demo:
            demo_weights(request, Path(config.model.checkpoint))
        checkpoint = starting_checkpoint(config, root, fingerprint, say, executor)
        qat_artifacts.write(root.plan, plan, created_by=CREATED_BY)
        with nullcontext(shown) if shown else board(board_rows(root, runs), plain=request.plain) as progress:
            try:
                faults = _train_all(
                    request,
                    root,
                    runs,
                    dataset=root.data(fingerprint),
                    checkpoint=checkpoint,
                    shown=progress,
                    executor=executor,
                    places=places,
                )
            except LadderError as error:
                if not error.interrupted and summaries(root):
                    _compare_all_the_same(root)
                raise
        if summaries(root):  # none where every run failed before it had anything to sum up
            print(compare(root))
    for fault in faults:
        say(f"error: {fault}")
    return Exit.CELL_FAILED if faults else Exit.OK


def _compare_all_the_same(root: Root) -> None:
    """After a fault that ends the stage: what was trained until then, and what failed."""
    try:
        print(compare(root))
    except LadderError as error:  # the first fault is the one to end with
        say(f"error: {error}")


def board_rows(root: Root, runs: Iterable[Trajectory]) -> dict[Path, tuple[str, int]]:
    """Name and epochs of training runs by their folders, as a board shows them."""
    return {
        root.trajectory(run.variant, run.arm, run.seed): (
            f"{run.variant}/{run.arm}/seed{run.seed}",
            run.methods[0].config.training.epochs,
        )
        for run in runs
    }


def _train_all(
    request: Request,
    root: Root,
    runs: list[Trajectory],
    *,
    dataset: Path,
    checkpoint: str,
    shown: Board,
    executor: Executor,
    places: list[Place],
) -> list[str]:
    """Every training run and its rows; returns what went wrong, a line each.

    Raises:
        LadderError: for a reason that every cell shares, unless asked to keep going.
    """
    clock = Clock(len(runs), at_once=len(places))
    resume = "never" if request.resume == "never" else "auto"  # "must" was settled by the plan

    def climb(trajectory: Trajectory, place: Place) -> Work[list[str]]:
        folder = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
        shown.move(folder, "training")
        try:
            ended = yield from train(
                trajectory,
                root,
                place,
                dataset=dataset,
                checkpoint=checkpoint,
                resume=resume,
                clock=clock,
                board=shown,
                stop_doomed=request.stop_doomed,
            )
        except LadderError as error:
            shown.move(folder, "failed")
            if error.interrupted:
                raise
            left = leave(trajectory, root)
            if not request.keep_going:
                raise
            return [str(error), *left]
        shown.move(folder, "finishing")
        found = yield from finish(trajectory, root, place, ended, shown)
        shown.move(folder, "stopped" if ended.stopped else "failed" if found else "done")
        return found

    works = [functools.partial(climb, trajectory) for trajectory in runs]
    return [fault for faults in drive(works, executor, places, shown.tick) for fault in faults]


def summaries(root: Root) -> list[Path]:
    """Variant folders of a run root that hold summaries; a refused run's lies in the folder itself."""
    cells = {path.parents[2] for path in root.path.glob("yolo10?/*/seed*/run_summary.json")}
    return sorted(cells | {path.parent for path in root.path.glob("yolo10?/run_summary.json")})


def compare(root: Root) -> str:
    """Write the comparison of everything in a run root; returns its table and where the page is.

    Raises:
        ConfigError: there is no summary yet.
    """
    found = summaries(root)
    if not found:
        raise ConfigError(f"{root.path} holds no run summary; run `invoke ladder.n --root {root.path}` first")
    gate: list[str | Path] = ["--gate", root.gate] if root.gate.exists() else []
    call("qat-report", "compare", *found, *gate, "--out", root.path)
    text = (root.path / "summary.md").read_text(encoding="utf-8").partition("\n## Stability")[0].strip()
    return f"{text}\n\n{root.path / 'index.html'}"
