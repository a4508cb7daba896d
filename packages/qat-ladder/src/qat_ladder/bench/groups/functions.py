"""Single functions: the bench_*.py files of the packages, by pytest-benchmark."""

from qat_ladder import tasks
from qat_ladder.bench.case import Case, Contestant, Group, Setup, python

# case: title, and the file with its tests by the name of the row
_CASES = {
    "match": (
        "Matching 13,600 detections",
        "qat-data/tests/bench_data_evaluate.py",
        {
            "pycocotools": "test_match[pycocotools]",
            "faster-coco-eval": "test_match[faster-coco-eval]",
            "reading and checking them": "test_read_and_check_detections",
        },
    ),
    "artifacts": (
        "A record with 10,000 entries",
        "qat-artifacts/tests/bench_artifacts_codec.py",
        {"write": "test_write", "read": "test_read"},
    ),
    "gate": (
        "A decision over 600 summaries",
        "qat-gate/tests/bench_gate_decide.py",
        {"decide": "test_decide_over_600_summaries"},
    ),
}


def _cases(setup: Setup) -> list[Case]:
    packages = tasks.PROJECT / "packages"
    environment = {"QAT_TEST_DATA": str(setup.data)} if setup.data else {}
    found = []
    for name, (title, file, tests) in _CASES.items():
        rows = [
            Contestant(
                name=row,
                command=python("-m", "qat_ladder.bench.functions", f"{packages / file}::{test}"),
                timed="printed",
                environment=environment,
                needs=("pytest", "pytest_benchmark"),
                missing="" if (packages / file).is_file() else "not in the repository of the packages",
            )
            for row, test in tests.items()
        ]
        found.append(Case(name=name, title=title, contestants=tuple(rows), reference=next(iter(tests)), rounds=1))
    return found


GROUP = Group(
    name="functions",
    title="Functions",
    about="The fastest round of pytest-benchmark in a process of its own; `nox -s bench` shows its whole table. CPU "
    "time and peak memory are those of the process, pytest included.",
    cases=_cases,
)
