"""How soon a command answers: `--help` of each, and the list of tasks, beside an interpreter that does nothing."""

from pathlib import Path

from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python

_SECONDS = {"qat-gate": 0.2, "qat-data": 0.4, "qat-report": 0.4}  # about, on a machine with two cores
_LIST = 0.6


def _cases(setup: Setup) -> list[Case]:
    from qat_ladder import tasks

    commands = [
        Contestant(name=f"{name} --help", command=python("-m", name.replace("-", "_"), "--help"))
        for name in ("qat-gate", "qat-data", "qat-report", "qat-qc", "qat-train")
    ]
    has_tasks = (tasks.PROJECT / "tasks.py").is_file()
    listing = Contestant(
        name="invoke --list",
        command=python("-m", "invoke", "--search-root", Path(tasks.PROJECT), "--list"),
        missing="" if has_tasks else "no tasks.py in this folder",
    )
    return [
        Case(
            name="help",
            title="The first answer",
            about="The floor is an interpreter that starts and ends; what a command adds is the modules it imports.",
            reference="python -c pass",
            rounds=7,
            warm=True,
            contestants=(Contestant(name="python -c pass", command=python("-c", "pass")), *commands, listing),
            targets=(
                *(Target(contestant=f"{name} --help", at_most=seconds) for name, seconds in _SECONDS.items()),
                Target(contestant="invoke --list", at_most=_LIST),
            ),
        )
    ]


GROUP = Group(
    name="startup",
    title="Start-up",
    about="Whole processes, from start to exit, modules compiled and files in memory.",
    cases=_cases,
)
