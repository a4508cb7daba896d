"""One training run and the rows that come from it."""

import re
from pathlib import Path
from typing import Any

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.compose import Resolved, render
from qat_ladder.errors import LadderError
from qat_ladder.estimate import spell
from qat_ladder.launch import call, error_in, failure, say, stream
from qat_ladder.layout import Root
from qat_ladder.plan import Weights
from qat_ladder.training import specification, write_specification

# A method's own keys and sections under which its rows are not comparable by value, as qat-report names them.
_SETS = {
    "training.epochs": "training.epochs",
    "training.batch": "training.effective_batch",
    "training.amp": "training.amp",
    "quantization": "quantization",
    "interventions": "training.interventions",
}
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


class Clock:
    """Refreshes the estimate of the whole ladder after the first epoch of each run."""

    def __init__(self, runs: int) -> None:
        self._left = runs

    def watch(self, line: str) -> None:
        """Read an epoch line; say what is left once its speed is known."""
        found = re.match(r"epoch 1/(\d+) .*?  ([\d.]+) s  about", line)
        if found:
            left = float(found[2]) * (int(found[1]) * self._left - 1)
            say(f"estimate: about {spell(left)} of training and validation left, {self._left} runs not finished")

    def finished(self) -> None:
        """One run is done."""
        self._left -= 1


def given_beside_files(method: Resolved) -> dict[str, Any]:
    """The profile, what was given beside the shipped files, and the reason to start against a gate."""
    found = {key: value for key, value in method.flat().items() if key in method.origins}
    made = {key: value for key, value in found.items() if method.origins[key].kind == "given"}
    made["profile"] = method.profile
    return made | ({"gate.override": method.gate_override} if method.gate_override else {})


def _overrides(method: Resolved, checkpoint: str) -> dict[str, Any]:
    """As above, and the fine-tuning that came first."""
    model = method.config.model
    made = given_beside_files(method)
    if checkpoint != model.checkpoint:
        made |= {"pretrain.from": Path(model.checkpoint).name, "pretrain.epochs": method.config.pretrain.epochs}
    return made


def train(trajectory: Trajectory, root: Root, *, dataset: Path, checkpoint: str, resume: str, clock: Clock) -> int:
    """Train or continue one trajectory; returns the exit code of a run that failed on its own, or 0.

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
    spec = write_specification(out / "run.toml", content)
    log = out / "log.txt"
    say(f"{name}: training, log in {log}")
    code = stream(
        "qat-train",
        "run",
        "--spec",
        spec,
        "--out",
        out,
        "--resume",
        resume,
        log=log,
        prefix=f"{name}: ",
        watch=clock.watch,
    )
    clock.finished()
    if code in _FATAL:
        raise failure("qat-train", code, f"error: {error_in(log)} ({log})")
    return code


def _fresh(folder: Path, run: Path) -> bool:
    """Whether a correction of exactly this run lies there."""
    try:
        header = qat_artifacts.read_header(folder / "qc.json")
    except qat_artifacts.ArtifactError:
        return False
    return qat_artifacts.sha256_file(run / "run.json") in {ref.sha256 for ref in header.inputs}


def correct(trajectory: Trajectory, method: Resolved, root: Root) -> Path:
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
    code = stream(
        "qat-qc",
        "run",
        "--run",
        run,
        "--out",
        out,
        "--seed",
        str(trajectory.seed),
        *(str(a) for a in arguments),
        log=run / "log.txt",
        prefix=f"{name}: ",
    )
    if code:
        raise failure("qat-qc", code, f"error: {error_in(run / 'log.txt')} ({run / 'log.txt'})")
    return out


def summarize(trajectory: Trajectory, method: Resolved, root: Root, qc: Path | None) -> None:
    """Write the run summary of one row, and beside it the configuration with the origin of each key.

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
    out = root.summary(trajectory.variant, name, trajectory.seed)
    call("qat-report", "summarize", *arguments, "--out", out)
    qat_artifacts.write_text(out / "config.toml", render(method) + "\n")


def finish(trajectory: Trajectory, root: Root, code: int) -> list[str]:
    """Correct and summarize every method of a trajectory; returns what went wrong, a line each."""
    run = root.trajectory(trajectory.variant, trajectory.arm, trajectory.seed)
    faults = []
    if code:
        faults.append(f"{run.name} of {trajectory.variant}/{trajectory.arm}: {error_in(run / 'log.txt')}")
    for method in trajectory.methods:
        qc = None
        try:
            if method.config.method.correction and not code:
                qc = correct(trajectory, method, root)
            summarize(trajectory, method, root, qc)
        except LadderError as error:
            if error.code in (Exit.INTERRUPTED, Exit.TERMINATED):
                raise
            faults.append(str(error))
    return faults
