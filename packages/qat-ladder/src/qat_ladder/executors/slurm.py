"""Training runs as jobs of Slurm, submitted by submitit; `cluster = "local"` in [slurm] tries it out without one.

A job survives the ladder that submitted it. The next ladder in the run root finds it by the record that was left, and
follows it instead of submitting the command once more.
"""

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import attrs
import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.helpers import DelayedSubmission

import qat_artifacts
from qat_ladder.config import Config
from qat_ladder.errors import ConfigError, Unavailable
from qat_ladder.executors.command import Command
from qat_ladder.executors.remote import Attempt, Followed, Lost
from qat_ladder.layout import Root

_DAY = 24 * 60  # minutes; submitit's own limit is five
_LATE = 5.0  # seconds by which a result may come after the end of its job, on a network file system


@attrs.frozen(kw_only=True)
class SlurmAttempt(Attempt):
    """An attempt that Slurm may begin again by itself: after a time limit, preemption, or the loss of a node."""

    def __call__(self) -> int:
        """Run it; submitit calls this on the node."""
        restarted = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
        return attrs.evolve(self, again=self.again or restarted).perform()

    def checkpoint(self) -> DelayedSubmission:
        """What a job that ran out of time is queued again as: the last finished epoch lies in its folder."""
        return DelayedSubmission(attrs.evolve(self, again=True))


class SlurmJob:
    """A job of submitit."""

    def __init__(self, job: Any) -> None:
        self.id = str(job.job_id)
        self._job = job
        self._ended: float | None = None  # when it was first seen without a result

    @property
    def title(self) -> str:
        """With its number."""
        return f"Slurm job {self.id}"

    def outcome(self) -> int | Lost | None:
        """As its result file says, or else Slurm; the latter is asked every few seconds at first, then less often."""
        if not self._job.done():
            return None
        if self._job.paths.result_pickle.exists():
            try:
                return int(self._job.result())
            except (FailedJobError, UncompletedJobError) as error:  # its text quotes the whole log
                return Lost(str(error).strip().splitlines()[-1])
        self._ended = self._ended or time.monotonic()
        if time.monotonic() - self._ended < _LATE:
            return None
        return Lost(f"state {self._job.state}, see {self._job.paths.stderr}")

    def at_work(self) -> bool:
        """Whether it waits or runs, as Slurm says now; a job that Slurm has forgotten does not."""
        return bool(self._job.get_info(mode="force")) and not self._job.done()

    def cancel(self) -> None:
        """Cancel it: Slurm asks all its processes to end, and half a minute later ends them."""
        self._job.cancel(check=False)


class Slurm:
    """Submits commands to Slurm, each as a job of one task on one node."""

    def __init__(self, executor: Any, folder: Path, *, retries: int, survive: bool) -> None:
        """Jobs that survive their ladder can be asked about by number; those of submitit's local trial cannot."""
        self._executor, self._folder, self._retries, self._survive = executor, folder, retries, survive

    @classmethod
    def of(cls, config: Config, root: Root) -> "Slurm":
        """With the parameters of [slurm]; what submitit and Slurm write goes into the run root's jobs/slurm.

        Raises:
            ConfigError: a parameter is unknown or of the wrong type.
            Unavailable: there is no Slurm here.
        """
        gpus = 0 if config.training.first_device == "cpu" else config.training.ranks
        parameters = {"timeout_min": _DAY, "gpus_per_node": gpus} | config.slurm
        cluster = parameters.pop("cluster", "slurm")
        if cluster not in ("slurm", "local"):
            raise ConfigError(f"slurm.cluster: expected slurm, or local to try it out on this machine, not {cluster!r}")
        retries, folder = config.executor.retries, root.path.absolute() / "jobs" / "slurm"
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=retries)
        except RuntimeError as error:
            raise Unavailable(f"--executor slurm: {error} Submit from a host that has sbatch and srun") from error
        try:
            executor.update_parameters(**parameters)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"[slurm]: {error}") from error
        return cls(executor, folder, retries=retries, survive=cluster == "slurm")

    def start(self, command: Command) -> Followed:
        """Submit a command, or follow the job of the same command that an earlier ladder submitted."""
        job = self._known(command.folder)
        return Followed(command, self, retries=self._retries, adopted=job if job and job.at_work() else None)

    def _known(self, folder: Path) -> SlurmJob | None:
        """The job that was submitted last for a folder."""
        record = self._record(folder)
        if not self._survive or not record.exists():
            return None
        about = json.loads(record.read_text(encoding="utf-8"))
        return SlurmJob(submitit.SlurmJob(folder=self._folder, job_id=about["job"]))

    def _record(self, folder: Path) -> Path:
        """Where the job for a folder is noted: beside what submitit writes, for the folder may not be there yet."""
        return self._folder / f"{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}.json"

    def submit(self, attempt: Attempt) -> SlurmJob:
        """Queue an attempt, and leave a record of its job.

        Raises:
            Unavailable: Slurm did not take it.
        """
        self._executor.update_parameters(name=re.sub(r"[^A-Za-z0-9.+-]+", "_", attempt.name))
        wanted = SlurmAttempt(**{field.name: getattr(attempt, field.name) for field in attrs.fields(Attempt)})
        try:
            job = SlurmJob(self._executor.submit(wanted))
        except (FailedJobError, OSError) as error:
            raise Unavailable(f"--executor slurm: {attempt.name} was not taken: {error}") from error
        about = {"job": job.id, "command": list(attempt.argv), "folder": str(attempt.folder)}
        qat_artifacts.write_text(self._record(attempt.folder), json.dumps(about) + "\n")
        return job

    def close(self) -> None:
        """Nothing is held: jobs that are at work go on."""
