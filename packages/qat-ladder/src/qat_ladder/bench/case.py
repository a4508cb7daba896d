"""What is measured: groups of cases, and the contestants of each."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import attrs
from attrs import validators

from qat_ladder.launch import Say, say

Quantity = Literal["seconds", "cpu", "peak_mb", "exponent"]


def python(*arguments: str | Path) -> tuple[str, ...]:
    """Command line of this interpreter."""
    return (sys.executable, *(str(a) for a in arguments))


@attrs.frozen(kw_only=True)
class Target:
    """What a contestant may take at most.

    Attributes:
        contestant: its name, or that of a line for the quantity "exponent".
        at_most: a ratio to the contestant `to`; seconds or megabytes where `to` is None; or an exponent.
        of: "seconds" of wall time, "cpu" seconds, "peak_mb" of memory, or "exponent": the steepest growth of a line
            between two neighbouring sizes, 1 being linear.
        to: another contestant of the case.
    """

    contestant: str
    at_most: float = attrs.field(validator=validators.gt(0))
    of: Quantity = "seconds"
    to: str | None = None


def _nothing() -> None:
    pass


@attrs.frozen(kw_only=True)
class Contestant:
    """One side of a comparison.

    Attributes:
        name: unique within its case, as the page shows it.
        command: argv; it runs in the folder `setup.work`.
        timed: "process" counts from start to exit, "printed" what the last line of stdout says: a JSON object with
            "seconds".
        before: called ahead of each run and not timed, such as to delete what the run before has written.
        environment: variables added to ours.
        needs: modules that must be importable; a contestant without them is named on the page and not run.
        missing: another reason why it cannot run here.
        line, size: a point of a curve: the line's name, and how much was processed.
    """

    name: str
    command: tuple[str, ...] = attrs.field(validator=validators.min_len(1))
    timed: Literal["process", "printed"] = "process"
    before: Callable[[], object] = _nothing
    environment: Mapping[str, str] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()
    missing: str = ""
    line: str | None = None
    size: float | None = attrs.field(default=None, validator=validators.optional(validators.gt(0)))


@attrs.frozen(kw_only=True)
class Case:
    """One comparison.

    Attributes:
        name: unique within its group; letters, digits and dashes: it names the plot's file.
        title: as the page shows it.
        contestants: in the order of the table.
        reference: the contestant that the table's ratios refer to; None where they say nothing, as of a curve.
        about: Markdown: what is compared, the physical floor, what was tried.
        rounds: how often each contestant runs.
        warm: first run each once without counting it, where a first start differs, such as by compiling modules.
        targets: what the page judges.
        equal: keys of what the commands print whose values must be the same for all contestants.
    """

    name: str = attrs.field(validator=validators.matches_re(r"[a-z0-9-]+"))
    title: str
    contestants: tuple[Contestant, ...] = attrs.field(validator=validators.min_len(1))
    reference: str | None = None
    about: str = ""
    rounds: int = attrs.field(default=3, validator=validators.ge(1))
    warm: bool = False
    targets: tuple[Target, ...] = ()
    equal: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        names = [c.name for c in self.contestants]
        if len(set(names)) < len(names):
            raise ValueError(f"case {self.name}: two contestants have one name: {', '.join(names)}")
        lines = {c.line for c in self.contestants}
        for target in self.targets:
            if target.contestant not in (lines if target.of == "exponent" else names):
                raise ValueError(f"case {self.name}: the target's {target.contestant!r} is not among {names}")
        for name in [self.reference, *(t.to for t in self.targets)]:
            if name is not None and name not in names:
                raise ValueError(f"case {self.name}: {name!r} is not among the contestants {names}")


@attrs.frozen(kw_only=True)
class Setup:
    """What a group's cases are made for.

    Attributes:
        work: an existing folder for inputs, which are kept for the next call, and for what commands write.
        part: of the full sizes, in (0, 1].
        data: the folder of the real data, `$QAT_TEST_DATA`; None where there is none.
        tell: takes a line of progress.
    """

    work: Path
    part: float = attrs.field(default=1.0, validator=[validators.gt(0), validators.le(1)])
    data: Path | None = None
    tell: Say = say

    def scaled(self, size: int) -> int:
        """A full size under `part`, at least 1."""
        return max(1, round(size * self.part))


@attrs.frozen(kw_only=True)
class Group:
    """A section of the page. `cases` makes the inputs that are not there yet and may take minutes."""

    name: str = attrs.field(validator=validators.matches_re(r"[a-z0-9-]+"))
    title: str
    about: str
    cases: Callable[[Setup], Iterable[Case]]
