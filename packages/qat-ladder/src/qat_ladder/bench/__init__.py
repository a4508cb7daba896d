"""Speed, side by side: `invoke bench` runs commands beside their peers in one go and renders docs/benchmarks.md.

A **group** is a section of the page, a **case** one comparison in it, a **contestant** one side of a comparison: a
command line, run as a process of its own. Contestants of a case take turns, round after round, so that a machine that
slows down slows all of them; a ratio is the median over the rounds. Wall time, CPU time and peak memory come from the
kernel. A group that was never measured, a contestant that needs a package which is not here, and one that failed are
named on the page; nothing is left out in silence.

To add a group, write a module in `qat_ladder/bench/groups` and name it in `GROUPS` there:

    from qat_ladder.bench import Case, Contestant, Group, Setup, Target, python

    def _cases(setup: Setup) -> list[Case]:
        return [
            Case(
                name="step",
                title="One training step",
                about="Bytes moved, what was tried; Markdown.",
                reference="FP32",
                rounds=5,
                contestants=(
                    # timed="printed": the command's last line on stdout is {"seconds": 0.123, ...}, and that counts.
                    Contestant(name="FP32", command=python("-c", FP32), timed="printed", needs=("torch",)),
                    # timed="process", the default: from start to exit.
                    Contestant(name="ours", command=python("-m", "qat_train", "pace", ...)),
                ),
                # `to` names a contestant: a ratio; without it, seconds, or megabytes of peak memory.
                targets=(Target(contestant="ours", to="FP32", at_most=1.05),),
            )
        ]

    GROUP = Group(name="train", title="Training", about="...", cases=_cases)

What a command prints beside "seconds" is kept with its run; `Case.equal` names keys whose values must be the same for
every contestant, such as a hash of the result. A contestant with a `line` and a `size` is a point of a curve; a target
`of="exponent"` bounds the growth of a line. `setup.work` is a folder for inputs that are made once and kept,
`setup.scaled(118_287)` the size under `--part`, `setup.data` the real data or None. Work on `--only train --part 0.05
--rounds 1`; the page says which part of the full sizes was measured.
"""

from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python

__all__ = ["Case", "Contestant", "Group", "Setup", "Target", "python"]
