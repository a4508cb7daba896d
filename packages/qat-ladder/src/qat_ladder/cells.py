"""One training run and the rows that come from it."""

import signal
from pathlib import Path
from typing import Any

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.compose import Resolved, render
from qat_ladder.doomed import Doomed, Watch, signs, stoppable
from qat_ladder.driving import Work
from qat_ladder.errors import LadderError
from qat_ladder.estimate import Clock
from qat_ladder.launch import call, command, error_in, failure, say
from qat_ladder.layout import Root
from qat_ladder.live import Board
from qat_ladder.places import Place
from qat_ladder.plan import Cell, Weights
from qat_ladder.status import finished_epochs, training_state
from qat_ladder.training import specification, write_specification

# A method's own keys and sections under which its rows are not comparable by value, as qat-report names them.
_SETS = {
    "training.epochs": "training.epochs",
    "training.batch": "training.effective_batch",
    "training.amp": "training.amp",
    "quantization": "quantization",
    "interventions": "training.interventions",
}
WHERE = ("executor.", "slurm.", "ray.")  # keys that say where runs are trained, and nothing about them
# Of these codes every other cell would die as well: wrong configuration, data or machine.
_FATAL = (Exit.USAGE, Exit.INPUT, Exit.ENVIRONMENT, Exit.INTERRUPTED, Exit.TERMINATED)


@attrs.frozen(kw_only=True)
class Trajectory:
    """A training run of one (variant, arm, seed), and the methods whose rows it gives.

    `series`: which weights each epoch validates, the raw ones first: what all rows need that the plan takes from it.
    """

    arm: str
    seed: int
    methods: tuple[Resolved, ...]
    series: tuple[Weights, ...]

    @property
    def variant(self) -> str:
        """Variant of the detector."""
        return self.methods[0].config.model.variant


@attrs.frozen(kw_only=True)
class Ended:
    """How a training run ended: exit code, and the signs for which it was stopped as doomed, if it was."""

    code: int = 0
    stopped: str | None = None


def cells_from(run: Trajectory) -> list[Cell]:
    """The rows of a training run, as the plan holds them."""
    return [
        Cell(
            variant=run.variant,
            method=m.config.method.name,
            weights=m.config.method.weights,
            correction=m.config.method.correction,
            arm=run.arm,
            seed=run.seed,
        )
        for m in run.methods
    ]


def given_beside_files(method: Resolved) -> dict[str, Any]:
    """The profile, what was given beside the shipped files, and the reason to start against a gate."""
    found = {key: value for key, value in method.flat().items() if key in method.origins}
    made = {
        key: value for key, value in found.items() if method.origins[key].kind == "given" and not key.startswith(WHERE)
    }
    made["profile"] = method.profile
    return made | ({"gate.override": method.gate_override} if method.gate_override else {})


def _overrides(method: Resolved, checkpoint: str) -> dict[str, Any]:
    """As above, and the fine-tuning that came first."""
    model = method.config.model
    made = given_beside_files(method)
    if checkpoint != model.checkpoint:
        made |= {"pretrain.from": Path(model.checkpoint).name, "pretrain.epochs": method.config.pretrain.epochs}
    return made


def train(
    trajectory: Trajectory,
    root: Root,
    place: Place,
    *,
    dataset: Path,
    checkpoint: str,
    resume: str,
    clock: Clock,
    board: Board,
    stop_doomed: bool = False,
) -> Work[Ended]:
    """Train or continue one trajectory; the code is that of a run that failed on its own, or 0.

    With `stop_doomed`, a run that is doomed by its lines is ended between two epochs, or not started again; its last
    state is kept, and without `stop_doomed` it goes on from there.

    Raises:
        LadderError: it failed for a reason that every other cell shares.
    """
    config = trajectory.methods[0].config
    out = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
    name = f"{trajectory.variant}/{trajectory.arm}/seed{trajectory.seed}"
    content = specification(
        config,
        run_id=name,
        seed=trajectory.seed,
        series=list(trajectory.series),
        dataset=dataset,
        checkpoint=checkpoint,
        references=root.references,
        overrides=_overrides(trajectory.methods[0], checkpoint),
    )
    content["training"] |= place.keys()
    spec = write_specification(out / "run.toml", content)
    log = out / "log.txt"
    doomed = Watch(folder=out, series=trajectory.series) if stop_doomed else None

    def watch(line: str) -> None:
        clock.watch(line)
        if doomed:
            doomed(line)

    begun = resume != "never" and stoppable(out, config.training.epochs)
    try:
        if doomed and begun and (text := signs(out, trajectory.series)):
            raise Doomed(text)
        say(f"{name}: {_announced(out, config.training.epochs, resume)}, log in {log}")
        options: list[str | Path] = ["run", "--spec", spec, "--out", out, "--resume"]
        code = yield command(
            "qat-train",
            *options,
            resume,
            again=[*options, "auto"],
            folder=out,
            log=log,
            prefix=f"{name}: ",
            watch=watch,
            show=board.show,
        )
    except Doomed as error:
        if not stoppable(out, config.training.epochs):  # it ended, or all but, in the meantime: let it, and see how
            return (
                yield from train(
                    trajectory,
                    root,
                    place,
                    dataset=dataset,
                    checkpoint=checkpoint,
                    resume="auto",
                    clock=clock,
                    board=board,
                )
            )
        clock.finished()
        return Ended(code=Exit.CELL_FAILED, stopped=str(error))
    clock.finished()
    if code in _FATAL:
        raise failure("qat-train", code, f"error: {error_in(log)} ({log})")
    return Ended(code=code)


def _announced(folder: Path, epochs: int, resume: str) -> str:
    """What `qat-train run` is about to do in `folder`."""
    done = 0 if resume == "never" else finished_epochs(folder)
    if done >= epochs and training_state(folder) == "completed":
        return "trained already"
    return f"training goes on after epoch {done} of {epochs}" if done else "training"


def _fresh(folder: Path, run: Path) -> bool:
    """Whether a correction of exactly this run lies there."""
    try:
        header = qat_artifacts.read_header(folder / "qc.json")
    except qat_artifacts.ArtifactError:
        return False
    return qat_artifacts.sha256_file(run / "run.json") in {ref.sha256 for ref in header.inputs}


def correct(trajectory: Trajectory, method: Resolved, root: Root, place: Place, board: Board) -> Work[Path]:
    """Quantization Correction or batch norm re-estimation of a completed run; kept if it is there already.

    Raises:
        LadderError: it failed.
    """
    run = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
    own, qc = method.config.method, method.config.qc
    out = root.correction(trajectory.variant, trajectory.arm, trajectory.seed, own.name)
    if _fresh(out, run):
        return out
    name = f"{trajectory.variant}/{own.name}/seed{trajectory.seed}"
    arguments: list[Any] = ["--weights", own.weights, "--stages", qc.stages]
    if "qc" in qc.stages:
        arguments += ["--train", qc.train, "--epochs", qc.epochs, "--lr", qc.lr]
    if place.device is not None:  # otherwise the run's own
        arguments += ["--device", place.device.partition(",")[0]]  # a correction is the work of one
    code = yield command(
        "qat-qc",
        "run",
        "--run",
        run,
        "--out",
        out,
        "--seed",
        str(trajectory.seed),
        *(str(a) for a in arguments),
        folder=out,
        log=run / "log.txt",
        prefix=f"{name}: ",
        show=board.show,
    )
    if code:
        raise failure("qat-qc", code, f"error: {error_in(run / 'log.txt')} ({run / 'log.txt'})")
    return out


def summarize(
    trajectory: Trajectory,
    method: Resolved,
    root: Root,
    qc: Path | None,
    *,
    stopped: str | None = None,
    failed: str | None = None,
) -> None:
    """Write the run summary of one row, and beside it the configuration with the origin of each key.

    Args:
        trajectory: the training run.
        method: whose row it is.
        root: of both.
        qc: folder of its correction.
        stopped: the signs for which the run was stopped.
        failed: why its correction failed.

    Raises:
        LadderError: the run left nothing that could be summarized.
    """
    run = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
    name = method.config.method.name
    arguments: list[str | Path] = ["--run", run, "--method", name, "--series", method.config.method.weights]
    sections = {key.partition(".")[0] for key in method.own}
    keys = {_SETS[key] for key in method.own & set(_SETS)} | {_SETS[name] for name in sections & set(_SETS)}
    for key in sorted(keys):
        arguments += ["--sets", key]
    arguments += ["--qc", qc] if qc else []
    arguments += ["--stopped", stopped] if stopped else []
    arguments += ["--failed", failed] if failed else []
    out = root.summary(trajectory.variant, name, trajectory.seed)
    call("qat-report", "summarize", *arguments, "--out", out)
    qat_artifacts.write_text(out / "config.toml", render(method) + "\n")


def signal_name(number: int) -> str:
    """Such as SIGKILL; real-time signals between the first and the last have no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def finish(trajectory: Trajectory, root: Root, place: Place, ended: Ended, board: Board) -> Work[list[str]]:
    """Correct and summarize every method of a trajectory; returns what went wrong, a line each."""
    run = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
    faults = []
    if ended.code:
        why = error_in(run / "log.txt")
        if ended.code < 0:  # by a signal that was not ours
            name = signal_name(-ended.code)
            why = f"killed by {name}{', perhaps for memory' if name == 'SIGKILL' else ''}; its last line: {why}"
        if ended.stopped:
            why = f"stopped: doomed, {ended.stopped}; the same command without --stop-doomed goes on with it"
        faults.append(f"{run.name} of {trajectory.variant}/{trajectory.arm}: {why}")
    if ended.code == Exit.BUSY:  # somebody else trains it: its rows are theirs to write
        return faults
    for method in trajectory.methods:
        qc = failed = None
        if method.config.method.correction and not ended.code:
            try:
                qc = yield from correct(trajectory, method, root, place, board)
            except LadderError as error:
                if error.interrupted:
                    raise
                failed = str(error)
                faults.append(failed)
        faults += _summarized(trajectory, method, root, qc, stopped=ended.stopped, failed=failed)
    return faults


def leave(trajectory: Trajectory, root: Root) -> list[str]:
    """Summarize the rows of a run that ended for a reason which other cells share, if it had begun.

    A page without them would call the rest complete.

    Returns:
        What went wrong with that, a line each.
    """
    if training_state(root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)) != "failed":
        return []
    return [fault for method in trajectory.methods for fault in _summarized(trajectory, method, root, None)]


def _summarized(trajectory: Trajectory, method: Resolved, root: Root, qc: Path | None, **why: str | None) -> list[str]:
    """Summarize a row, with the arguments of `summarize`; returns what went wrong, which spares the other rows."""
    try:
        summarize(trajectory, method, root, qc, **why)
    except LadderError as error:
        if error.interrupted:
            raise
        return [str(error)]
    return []
