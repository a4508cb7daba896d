"""Several processes, each on a device, for one run: distributed data parallel (DDP).

Rank 0 is the process that was asked for the run. It measures, writes and reports, as with one device. The others are
started by it, read the same specification, and hold the same weights after every step, since each step takes the
gradients of all ranks. They write nothing, and end with rank 0, however that ends.

Ultralytics starts its ranks from a file that it writes and a pickle of trainer and callbacks. Here the specification
itself goes over, so that nothing has to be pickled, and an error of the run keeps its text and exit code.
"""

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_train import unshared
from qat_train.errors import ResourceError, SpecError
from qat_train.occupancy import FILE
from qat_train.spec import RunSpec

_GRACE = 10.0  # seconds in which rank 0 may end by itself after another rank has
_LONGEST_WAIT = datetime.timedelta(days=1)  # of a rank for the others: rank 0 evaluates meanwhile


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
        SpecError: there are more or fewer devices than ranks: several devices are for training alone.
    """
    devices = devices_of(asked)
    if len(devices) == 1 and world_size() > 1:
        raise SpecError(f"training.device = {asked!r}, but WORLD_SIZE is {world_size()} in the environment: unset it")
    if len(devices) == 1:
        return asked
    if len(devices) != world_size():
        raise SpecError(
            f"training.device = {asked!r}: several devices are for qat-train run and pretrain, which start a process "
            "for each; give one"
        )
    return _as_torch(asked)[rank()]


def _as_torch(asked: str) -> list[str]:
    """Several devices by torch's own numbers."""
    from ultralytics.utils.torch_utils import parse_device

    # All at once: it takes them as those of CUDA_VISIBLE_DEVICES where one of them is beyond torch's own count.
    return list(devices_of(asked)) if asked.startswith("cpu") else str(parse_device(asked)).split(",")


def describe(asked: str, own: Any) -> str:
    """Devices of a run as its record names them: "cuda:0,cuda:1"; `own` is that of rank 0.

    >>> describe("cpu,cpu", "cpu")
    'cpu,cpu'
    """
    if "," not in asked:
        return str(own)
    return ",".join(name if name == "cpu" else f"cuda:{name}" for name in _as_torch(asked))


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


def world_size() -> int:
    """How many ranks this process is one of; 1 where it is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them it is, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


@contextlib.contextmanager
def others(spec: RunSpec, out: Path, *, identity: str, threads: int, pretrain: bool) -> Iterator["Company"]:
    """While it lasts, the other ranks of a run train with this one, which calls `join` through its trainer.

    Args:
        spec: of the run.
        out: its folder.
        identity: of the specification.
        threads: of each rank.
        pretrain: as of `qat_train.runner.execute`.

    Raises:
        SpecError: this process was not made rank 0, see `become_first`.
    """
    devices = devices_of(spec.training.device)
    if len(devices) == 1:
        yield Company(devices, "", out)
        return
    own_device(spec.training.device)  # or this process was not made rank 0
    with tempfile.TemporaryDirectory(prefix="qat-train-") as folder:
        meeting = os.environ["QAT_TRAIN_MEETING"] = str(Path(folder) / "meeting")
        order = Order(
            spec=spec, out=str(out.resolve()), identity=identity, threads=threads, pretrain=pretrain, meeting=meeting
        )
        company = Company(devices, json.dumps(qat_artifacts.unstructure(order)), out)
        try:
            yield company
        finally:
            company.end()


class Company:
    """The other ranks of a run, as processes; none where it has one device."""

    def __init__(self, devices: Sequence[str], order: str, out: Path) -> None:
        """Start them. `out` is the folder of the run."""
        self._devices, self._out, self._over = devices, out, threading.Event()
        self._processes = [self._start(number, order) for number in range(1, len(devices))]
        if self._processes:
            threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _start(number: int, order: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "qat_train.companion"],
            env=os.environ | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        unshared.descriptors.add(process.stdin.fileno())
        # A line, and the pipe stays open: its end is the end of rank 0, which may have been killed.
        process.stdin.write(f"{order}\n".encode())
        process.stdin.flush()
        return process

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Around what ranks do together: the end of one is the reason for what fails in rank 0.

        Raises:
            ResourceError: another rank ended with an error of its own, which stands above.
        """
        try:
            yield
        except RuntimeError as error:  # such as that of a collective whose other side is gone
            if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
                raise  # rank 0's own
            if (lost := self._lost(_GRACE)) is None or lost.code == Exit.BUG:
                raise
            if lost.code < 0:
                self._give_up(lost)
            raise ResourceError(f"{lost}, see above") from error
        self._over.set()

    def _lost(self, patience: float = 0.0) -> "_Lost | None":
        """The first rank that ended with an error, or is about to within so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            for number, process in enumerate(self._processes, 1):
                if process.poll():
                    return _Lost(number, self._devices[number], process.returncode)
            if not self._processes or time.monotonic() >= deadline:
                return None
            time.sleep(0.05)

    def _watch(self) -> None:
        """End rank 0 too, where it waits for a rank that is gone and does not notice, as NCCL may not."""
        while not self._over.wait(0.5):
            if (lost := self._lost()) is not None and not self._over.wait(2 * _GRACE):
                self._give_up(lost)

    def _give_up(self, lost: "_Lost") -> None:
        """End this process at once, as the other one ended: by its signal, or with its exit code."""
        shutil.rmtree(Path(os.environ["QAT_TRAIN_MEETING"]).parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._out / FILE).write_text("", encoding="utf-8")  # the lock itself ends with us
        print(f"error: {lost}; the run is whole up to its last epoch", file=sys.stderr, flush=True)
        if lost.code < 0:
            with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler, and a thread may set none
                signal.signal(-lost.code, signal.SIG_DFL)
            os.kill(os.getpid(), -lost.code)
        os._exit(lost.code if lost.code > 0 else Exit.ENVIRONMENT)

    def end(self) -> None:
        """Wait for the others where the run is through, else end them: the end of the pipe is theirs."""
        through = self._over.is_set()
        self._over.set()
        deadline = time.monotonic() + _GRACE
        if through:
            self._wait(deadline)
        for process in self._processes:
            assert process.stdin is not None
            unshared.descriptors.discard(process.stdin.fileno())
            with contextlib.suppress(OSError):
                process.stdin.close()
        self._wait(max(deadline, time.monotonic() + _GRACE / 2))
        for process in self._processes:
            process.kill()
            process.wait()

    def _wait(self, deadline: float) -> None:
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))


@attrs.frozen
class _Lost:
    """A rank that ended before its time; `code` is negative for the signal that ended it."""

    number: int
    device: str
    code: int

    def __str__(self) -> str:
        how = f"was killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with code {self.code}"
        return f"rank {self.number} on device {self.device} {how}"


def obey(line: bytes, folder: Path) -> Order:
    """What another rank does first, before Ultralytics is imported: take its order, and end when rank 0 does.

    Args:
        line: from stdin.
        folder: of this rank, removed at the end.
    """
    order = qat_artifacts.structure(json.loads(line), Order, source="the order of rank 0")
    os.environ["QAT_TRAIN_MEETING"] = order.meeting

    def follow() -> None:
        # Not through sys.stdin: what reads holds its lock, which a forked loader of images needs to close it.
        while os.read(0, 1):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(Exit.OK)

    threading.Thread(target=follow, daemon=True).start()
    return order


def join(device: Any) -> None:
    """Meet the other ranks; each waits for the last one.

    Args:
        device: of this rank.
    """
    import torch

    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=torch.distributed.FileStore(  # type: ignore[attr-defined]  # it is there, mypy does not see it
            os.environ["QAT_TRAIN_MEETING"], world_size()
        ),
        rank=rank(),
        world_size=world_size(),
        timeout=_LONGEST_WAIT,
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


def mean(values: Mapping[str, float], device: Any) -> dict[str, float]:
    """Means over the ranks of values that each of them has; the values themselves where there is one process."""
    if world_size() == 1:
        return dict(values)
    import torch

    found = torch.tensor(list(values.values()), dtype=torch.float32, device=device)
    torch.distributed.all_reduce(found)
    return dict(zip(values, (found / world_size()).tolist(), strict=True))
