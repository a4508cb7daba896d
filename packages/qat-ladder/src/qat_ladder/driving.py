"""Several works at once, without threads: each yields the commands it needs and is sent their exit codes.

One thread alone forks children and hears them. Threads would be no gain, since commands are processes, and would be a
danger: a child is told of the death of the thread that started it, not of the process (prctl(2)).
"""

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

from qat_ladder.executors.command import Command, Executor, Started

T = TypeVar("T")
P = TypeVar("P")
Work = Generator[Command, int, T]

_GRACE = 30.0  # seconds that a command has to end by itself


class _Lane(Generic[P, T]):
    """A place, and the work that is on it."""

    def __init__(self, place: P, executor: Executor, results: dict[int, T]) -> None:
        self._place, self._executor, self._results = place, executor, results
        self._work: Work[T] | None = None
        self._number = 0
        self._command: Command | None = None
        self.started: Started | None = None

    def begin(self, number: int, work: Callable[[P], Work[T]]) -> None:
        """Begin a work, and its first command; it may end without any."""
        self._number, made = number, work(self._place)
        self._work = made
        self._go_on(lambda: next(made))

    def attend(self) -> None:
        """Hear the command; where it has ended, or must, let the work go on."""
        started, command, work = self.started, self._command, self._work
        assert started is not None
        assert command is not None
        assert work is not None
        code = started.poll()
        try:
            for line in started.lines():
                command.hear(line)
        except Exception as error:
            stop([started])
            raised = error
            self._go_on(lambda: work.throw(raised))
            return
        if code is not None:
            started.close()
            self._go_on(lambda: work.send(code))

    def _go_on(self, step: Callable[[], Command]) -> None:
        self.started = None
        try:
            self._command = step()
        except StopIteration as end:
            self._results[self._number] = end.value
        else:
            self.started = self._executor.start(self._command)


def drive(
    works: Sequence[Callable[[P], Work[T]]],
    executor: Executor,
    places: Sequence[P],
    tick: Callable[[], None] = lambda: None,
) -> list[T]:
    """Do works in their order, one on each place at a time; returns what they return, in the same order.

    Args:
        works: begin on a place; an exception of `Command.hear` is raised where the command was yielded.
        executor: starts their commands.
        places: what works are given; as many are done at once.
        tick: called at least once a second.

    Whatever a work raises, and an interrupt, stops all commands first, so that their last states are whole.
    """
    waiting = deque(enumerate(works))
    results: dict[int, T] = {}
    lanes = [_Lane(place, executor, results) for place in places]
    try:
        while True:
            for lane in lanes:
                while lane.started is None and waiting:
                    lane.begin(*waiting.popleft())
            if not (busy := [lane for lane in lanes if lane.started]):
                break
            _wait([lane.started for lane in busy if lane.started])
            tick()
            for lane in busy:
                lane.attend()
    except BaseException:
        stop([lane.started for lane in lanes if lane.started])
        raise
    return [results[number] for number in range(len(works))]


def _wait(started: Sequence[Started]) -> None:
    """Until one of them has something to say, or must be asked."""
    pipes = [one.pipe for one in started if one.pipe is not None]
    select.select(pipes, [], [], min(one.patience for one in started))


def stop(started: Sequence[Started]) -> None:
    """Ask commands to end, and kill those that have not within half a minute, or once we are interrupted again."""
    try:
        for one in started:
            one.ask_to_end()
        deadline = time.monotonic() + _GRACE
        while any(one.poll() is None for one in started) and time.monotonic() < deadline:
            for one in started:
                _drain(one)  # a full pipe would keep it from ending
            time.sleep(0.02)
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
            _drain(one)
            with contextlib.suppress(OSError):
                one.close()


def _drain(started: Started) -> None:
    """Take in what it wrote; a log that cannot be written, on a full disk, may be why it is stopped."""
    with contextlib.suppress(OSError):
        started.lines()
