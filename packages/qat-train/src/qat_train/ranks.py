"""Several processes, each on a device, for one run: distributed data parallel (DDP).

Rank 0 is the process that was asked for the run. It measures, writes and reports, as with one device. The others are
started by it, read the same specification, and hold the same weights after every step, since each step takes the mean
of all ranks' gradients. They write nothing, and end with rank 0, however that ends.

Ultralytics starts its ranks from a file that it writes and a pickle of trainer and callbacks. Here the specification
itself goes over, so that nothing has to be pickled, and an error of the run keeps its text and exit code.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

import qat_artifacts
from qat_train.errors import ResourceError, SpecError
from qat_train.spec import RunSpec

_GRACE = 10.0  # seconds in which rank 0 may end by itself after another rank has
_LONGEST_WAIT = 24 * 3600.0  # seconds that a rank waits for the others: rank 0 evaluates while they do


@attrs.frozen(kw_only=True)
class Order:
    """What rank 0 asks of another rank."""

    spec: RunSpec
    out: str
    identity: str
    threads: int
    pretrain: bool
    meeting: str


def devices_of(name: str) -> tuple[str, ...]:
    """Devices of a run, one for each of its processes: "0,1" are two GPUs, "cpu,cpu" two processes on the CPU.

    >>> devices_of("0,1"), devices_of("auto")
    (('0', '1'), ('auto',))

    Raises:
        SpecError: an index twice, or several that are not of one kind.
    """
    devices = tuple(name.split(","))
    if len(devices) == 1 or set(devices) == {"cpu"}:
        return devices
    if not all(re.fullmatch(r"[0-9]+", device) for device in devices):
        raise SpecError(f"training.device = {name!r}: several devices are CUDA indices such as 0,1, or cpu,cpu")
    if len(set(devices)) < len(devices):
        raise SpecError(f"training.device = {name!r}: a device is named twice")
    return devices


def own_device(asked: str) -> str:
    """The device of this process.

    Raises:
        SpecError: there are more or fewer devices than ranks: several are for training alone.
    """
    devices = devices_of(asked)
    if len(devices) == 1:
        return asked
    if len(devices) != world_size():
        raise SpecError(
            f"training.device = {asked!r}: several devices are for qat-train run and pretrain, which start a process "
            "for each; give one"
        )
    return devices[rank()]


def describe(asked: str, own: Any) -> str:
    """Devices of a run as its record names them: "cuda:0,cuda:1"; `own` is that of rank 0.

    >>> describe("cpu,cpu", "cpu")
    'cpu,cpu'
    """
    if "," not in asked:
        return str(own)
    return ",".join(name if name == "cpu" else f"cuda:{name}" for name in devices_of(asked))


def first_of(recorded: str) -> str:
    """The device of rank 0 in such a record, as `choose_device` takes it.

    >>> first_of("cuda:2,cuda:3"), first_of("cpu")
    ('2', 'cpu')
    """
    return recorded.partition(",")[0].removeprefix("cuda:")


def check(spec: RunSpec) -> int:
    """How many processes train a run.

    Raises:
        SpecError: its batch cannot be divided among them.
    """
    count = len(devices_of(spec.training.device))
    if spec.training.batch % count:
        raise SpecError(
            f"training.batch = {spec.training.batch} cannot be divided among {count} devices; give a multiple of "
            f"{count}"
        )
    return count


def share_of_cores(asked: str) -> int:
    """Threads of each rank where no number is given; 0, which is every core, for one device."""
    count = len(devices_of(asked))
    return 0 if count == 1 else max(1, len(os.sched_getaffinity(0)) // count)


def become_first(count: int) -> None:
    """Make this process rank 0 of `count`.

    Raises:
        SpecError: there are several, and Ultralytics is imported already, which reads its rank at that time.
    """
    if count > 1:
        if "ultralytics.utils" in sys.modules:
            raise SpecError(f"Ultralytics was imported before this process was made one of {count} ranks")
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(count)}
    else:  # whatever started us may be distributed itself
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


def world_size() -> int:
    """How many ranks this process is one of; 1 where it is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them it is, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


@contextlib.contextmanager
def others(spec: RunSpec, out: Path, *, identity: str, threads: int, pretrain: bool) -> Iterator[None]:
    """While it lasts, the other ranks of a run train with this one, which calls `join` through its trainer.

    Args:
        spec: of the run.
        out: its folder.
        identity: of the specification.
        threads: of each rank.
        pretrain: as of `qat_train.runner.execute`.

    Raises:
        ResourceError: another rank ended before its time; its text says which one, on what device.
        SpecError: this process was not made rank 0, see `become_first`.
    """
    devices = devices_of(spec.training.device)
    if len(devices) == 1:
        yield
        return
    own_device(spec.training.device)  # or this process was not made rank 0
    with tempfile.TemporaryDirectory(prefix="qat-train-") as folder:
        meeting = str(Path(folder) / "meeting")
        os.environ["QAT_TRAIN_MEETING"] = meeting
        order = Order(
            spec=spec, out=str(out.resolve()), identity=identity, threads=threads, pretrain=pretrain, meeting=meeting
        )
        company = _Company(devices, qat_artifacts.dumps(qat_artifacts.unstructure(order)))
        try:
            yield
            company.finish()
        except RuntimeError as error:  # such as that of a collective whose other side is gone
            if (lost := company.lost(wait=True)) is not None:
                raise ResourceError(f"{lost}; the same call again goes on") from error
            raise
        finally:
            company.end()


class _Company:
    """The other ranks, as processes."""

    def __init__(self, devices: Sequence[str], order: str) -> None:
        self._devices, self._ending = devices, threading.Event()
        self._processes = []
        for number in range(1, len(devices)):
            environment = os.environ | {"RANK": str(number), "LOCAL_RANK": str(number)}
            process = subprocess.Popen(
                [sys.executable, "-m", "qat_train.companion"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            self._processes.append(process)
            assert process.stdin is not None
            # A line, and the pipe stays open: its end is the end of rank 0, which may have been killed.
            process.stdin.write(f"{order.replace(chr(10), '')}\n")
            process.stdin.flush()
        threading.Thread(target=self._watch, daemon=True).start()

    def lost(self, *, wait: bool = False) -> str | None:
        """Which rank ended with an error; with `wait`, one that is about to as well."""
        deadline = time.monotonic() + (_GRACE if wait else 0.0)
        while True:
            for number, process in enumerate(self._processes, 1):
                if process.poll():
                    return f"rank {number} on device {self._devices[number]} ended with code {process.returncode}"
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.05)

    def _watch(self) -> None:
        """End rank 0 too, where it waits for a rank that is gone and does not notice, as NCCL may not."""
        while not self._ending.wait(0.5):
            if (lost := self.lost()) is not None:
                if self._ending.wait(2 * _GRACE):
                    return
                print(f"error: {lost}; the same call again goes on", file=sys.stderr, flush=True)
                os._exit(qat_artifacts.Exit.ENVIRONMENT)

    def finish(self) -> None:
        """Wait for the others, who have finished too or are about to."""
        self._ending.set()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)

    def end(self) -> None:
        """End the others, which do so by themselves when the pipe closes."""
        self._ending.set()
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def obey(line: str) -> Order:
    """What another rank does first, before Ultralytics is imported: take its order, and end when rank 0 does."""
    order = qat_artifacts.structure(qat_artifacts.loads(line), Order, source="the order of rank 0")
    os.environ["QAT_TRAIN_MEETING"] = order.meeting

    def follow() -> None:
        sys.stdin.read()
        os._exit(qat_artifacts.Exit.OK)

    threading.Thread(target=follow, daemon=True).start()
    return order


def join(device: Any) -> None:
    """Meet the other ranks; each waits for the last one.

    Args:
        device: of this rank.
    """
    import datetime

    import torch

    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{os.environ['QAT_TRAIN_MEETING']}",
        rank=rank(),
        world_size=world_size(),
        timeout=datetime.timedelta(seconds=_LONGEST_WAIT),
    )


def part() -> None:
    """Leave the others, at the end of a run; nothing where there are none."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def of_first(value: Any) -> Any:
    """Rank 0's value, on every rank; the value itself where there is one process."""
    if world_size() == 1:
        return value
    import torch

    told = [value]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]
