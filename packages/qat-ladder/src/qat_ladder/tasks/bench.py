"""`bench`: speed beside the peers, on this machine, now."""

import os
from pathlib import Path
from typing import Any

from qat_artifacts import Exit
from qat_ladder.tasks.frame import guard, task


@task(
    help={
        "only": "Groups, separated by commas; all without it.",
        "out": "Folder of benchmarks.md, and of benchmarks/ with a record for each group and the plots.",
        "work": "Folder for inputs, up to 2 GB, which are made once and kept.",
        "part": "Of the full sizes, above 0 up to 1; for trying.",
        "rounds": "How often each command runs, instead of what its comparison asks for.",
        "page": "Measure nothing; write page and plots from the records that are there.",
    }
)
def bench(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    only: str = "",
    out: str = "runs/bench",
    work: str = "runs/bench/work",
    part: str = "1",
    rounds: str = "",
    page: bool = False,
) -> None:
    """Measure commands beside their peers, and write benchmarks.md with tables, plots and whether targets are met.

    A target that is missed is a result; exit 6 where a command failed. All groups take about an hour.

    Example: invoke bench --only startup,data --part 0.05
    """

    def run() -> int:
        from qat_ladder.bench.asking import parse_part, parse_rounds
        from qat_ladder.bench.case import Setup
        from qat_ladder.bench.groups import load
        from qat_ladder.bench.page import write_page
        from qat_ladder.bench.running import failures, measure_groups

        groups = load([name.strip() for name in only.split(",") if name.strip()])
        times = parse_rounds(rounds)
        folder, failed = Path(work).resolve(), []
        data = Path(os.environ.get("QAT_TEST_DATA", "../shared")).resolve()
        setup = Setup(work=folder, part=parse_part(part), data=data if data.is_dir() else None)
        if not page:
            folder.mkdir(parents=True, exist_ok=True)
            failed = failures(measure_groups(groups, setup, Path(out), rounds=times))
        print(write_page(load(), Path(out)))
        for line in failed:
            setup.tell(line)
        return Exit.CELL_FAILED if failed else Exit.OK

    guard(run)
