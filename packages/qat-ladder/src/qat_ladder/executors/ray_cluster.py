"""Training runs on the workers of a Ray cluster: a task each, which starts the command and waits for it.

Ray queues tasks and says where there is room. It is not asked to try anything again: a task that is lost with its
worker is another attempt of ours, which goes on from the last epoch.
"""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import attrs
import ray
from ray.exceptions import RayError

from qat_ladder.config import Config
from qat_ladder.errors import Unavailable
from qat_ladder.executors import worker
from qat_ladder.executors.command import Command
from qat_ladder.executors.remote import Attempt, Followed, Lost

_NAP = 0.1  # seconds


def _attempt(argv: list[str]) -> int:
    """On a worker of the cluster: start `qat_ladder.executors.worker`, wait for it; its exit code.

    A process of its own, since this one has threads of Ray's and may fork nothing that is told of its parent's death.
    """
    process = subprocess.Popen([*argv, str(os.getpid())], stdin=subprocess.DEVNULL)
    try:
        while (code := process.poll()) is None:
            time.sleep(_NAP)  # short: Ray's interrupt is none of the system, and wakes nobody who waits for a process
        return code
    except BaseException:  # cancelled
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        raise


class RayJob:
    """A task."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    @property
    def title(self) -> str:
        """With the first characters of its number."""
        return f"Ray task {self._reference.task_id().hex()[:12]}"

    def outcome(self) -> int | Lost | None:
        """What it returned, or why it was lost."""
        if not ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return worker.code_of(ray.get(self._reference))
        except RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return Lost(re.sub(r"\x1b\[[0-9;]*m", "", lines[-1].strip()) if lines else type(error).__name__)

    def cancel(self) -> None:
        """Interrupt it; its command is asked to end."""
        ray.cancel(self._reference)


class RayCluster:
    """Submits commands to a Ray cluster."""

    def __init__(self, *, cpus: int, gpus: float, retries: int) -> None:
        self._task: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_attempt)
        self._retries = retries

    @classmethod
    def of(cls, config: Config) -> "RayCluster":
        """Join the cluster of [ray].

        Raises:
            Unavailable: there is none.
        """
        key = config.ray
        before = signal.getsignal(signal.SIGTERM)  # Ray takes it
        try:
            if not ray.is_initialized():
                ray.init(address=key.address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise Unavailable(
                f"--executor ray: no cluster at {key.address!r} ({why}); start one with `ray start --head`, or name "
                "its address: --set ray.address=HOST:6379"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, before)
        gpus = 0.0 if config.training.first_device == "cpu" else key.gpus * config.training.ranks
        return cls(cpus=key.cpus, gpus=gpus, retries=config.executor.retries)

    def start(self, command: Command) -> Followed:
        """Queue a command."""
        return Followed(command, self, retries=self._retries)

    def submit(self, attempt: Attempt) -> RayJob:
        """Queue an attempt; one that no worker has room for waits."""
        wanted = json.dumps(attrs.asdict(attempt), default=str)  # paths
        return RayJob(self._task.options(name=attempt.name).remote([sys.executable, "-m", worker.__name__, wanted]))

    def close(self) -> None:
        """Leave the cluster; Ray ends what is still at work there."""
        ray.shutdown()
