"""How time grows: with images, and with runs."""

import attrs

from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.groups.data import FULL, prepared
from qat_ladder.bench.groups.report import compared, summaries
from qat_ladder.bench.inputs import annotations, emptied, images, sizes

_LINEAR = 1.1  # as an exponent, with a tenth for the machine's unrest
_ABOUT = (
    "The exponent is the steepest slope between two neighbouring sizes on logarithmic axes: 1 is linear, and what "
    "every size costs alike makes it smaller. It is held to 1.1, as single runs differ by some per cent."
)


# As many files as labels, each of their mean size, by what `open`, `write` and `close` ask of the kernel.
_FILES = """\
import os, sys
folder, content = sys.argv[1], b"x" * 335
os.makedirs(folder)
for number in range(int(sys.argv[2])):
    file = os.open(f"{folder}/{number:012d}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, content)
    os.close(file)
"""


def _curve(
    name: str, title: str, lines: dict[str, list[Contestant]], *, rounds: int, steps: str, floors: tuple[str, ...] = ()
) -> Case:
    """A case whose contestants are the points of lines, each but the floors on its own bound to be linear."""
    return Case(
        name=name,
        title=title,
        about=f"{_ABOUT} {steps}",
        rounds=rounds,
        contestants=tuple(one for points in lines.values() for one in points),
        targets=tuple(Target(contestant=line, of="exponent", at_most=_LINEAR) for line in lines if line not in floors),
    )


def _images(setup: Setup) -> Case:
    labels, files, view = "labels of every image", "files alone", "hashed, probed and linked"
    out = setup.work / "grown"
    found: dict[str, list[Contestant]] = {labels: [], files: [], view: []}
    for number in sizes(setup, (1000, 10_000, 40_000, FULL)):
        one = prepared(f"{labels}: {number}", annotations(setup, number), out, number, "--labels-only")
        found[labels].append(attrs.evolve(one, line=labels, size=number))
        bare = python("-c", _FILES, out, str(number))
        found[files].append(
            Contestant(name=f"{files}: {number}", command=bare, before=emptied(out), line=files, size=number)
        )
    for number in sizes(setup, (250, 500, 1000, 2000)):
        one = prepared(f"{view}: {number}", images(setup, number), out, number)
        found[view].append(attrs.evolve(one, line=view, size=number))
    steps = (
        "Every step is one pass over images or annotations, but the sorting of images by a hash. The collector, which "
        "would walk through all records again and again, rests while they are read. `files alone` is the floor of "
        "labels: a loop that does nothing but write as many files of their mean size, 335 bytes, into one folder."
    )
    return _curve("images", "Images", found, rounds=3, steps=steps, floors=(files,))


def _runs(setup: Setup) -> Case:
    line = "qat-report compare"
    points = []
    for number in sizes(setup, (10, 100, 300, 1000)):
        one = compared(f"{line}: {number}", summaries(setup, number), setup.work / "compared")
        points.append(attrs.evolve(one, line=line, size=number))
    steps = "Bootstrap and sign test are over the seeds of a method; every other step is one pass over the runs."
    return _curve("runs", "Runs", {line: points}, rounds=2, steps=steps)


def _cases(setup: Setup) -> list[Case]:
    return [_images(setup), _runs(setup)]


GROUP = Group(
    name="growth",
    title="Growth",
    about="Whole processes on inputs of several sizes.",
    cases=_cases,
)
