"""`ladder.n|s|m` and `ladder.status`."""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_artifacts import Exit
from qat_ladder.tasks.forecast import plan
from qat_ladder.tasks.frame import HELP, flags_among, guard, help_of, request, task

ROWS = "baseline,ema,ema+qc"


def rung(variant: str, name: str, text: str, rows: str = ROWS) -> Any:
    """A task that trains, corrects and compares a variant that no gate holds back.

    Args:
        variant: yolo10n or yolo10s.
        name: of the task in its collection.
        text: its help.
        rows: methods by default, separated by commas.
    """

    @task(help=HELP, iterable=["config", "set"], name=name)
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        seeds: str = "0,1",
        methods: str = rows,
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        trust_checkpoint: str = "",
        device: str = "",
        executor: str = "",
        jobs: str = "",
        slots: str = "",
        root: str = "runs/ladder",
        resume: str = "auto",
        trajectory: str = "shared",
        dry_run: bool = False,
        keep_going: bool = False,
        stop_doomed: bool = False,
        plain: bool = False,
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = flags_among(locals())

        def run() -> int:
            from qat_ladder.stage import run_stage

            return run_stage(request(variant, **flags))

        guard(run, resumes=not dry_run)

    body.__doc__ = text
    return body


@task(
    help=HELP
    | {
        "gate-root": "Run root of the evidence; --root itself without it.",
        "gate-summaries": "The evidence as run_summary.json files, separated by commas.",
        "override-gate": "Start against a NO-GO; the reason is kept in every later artifact.",
    },
    iterable=["config", "set"],
    name="m",
)
def gated(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    seeds: str = "0,1",
    methods: str = ROWS,
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    trust_checkpoint: str = "",
    device: str = "",
    executor: str = "",
    jobs: str = "",
    slots: str = "",
    root: str = "runs/ladder",
    resume: str = "auto",
    trajectory: str = "shared",
    dry_run: bool = False,
    keep_going: bool = False,
    stop_doomed: bool = False,
    plain: bool = False,
    gate_root: str = "",
    gate_summaries: str = "",
    override_gate: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Train, correct and compare yolov10m, if the gate over the run root says GO; exit 4 otherwise.

    Example: invoke ladder.m --seeds 0,1 --coco-root path/to/coco --profile short --gate-root runs/ladder
    """
    flags = flags_among(locals())

    def run() -> int:
        from qat_ladder.gating import run_m

        return run_m(
            request("yolo10m", **flags), gate_root=gate_root, gate_summaries=gate_summaries, override=override_gate
        )

    guard(run, resumes=not dry_run)


@task(help=help_of("root", json="One JSON document."))
def status(_context: Any, root: str = "runs/ladder", json: bool = False) -> None:
    """How far each cell of a run root is, what is left to do, and who is at work there."""

    def run() -> int:
        from qat_ladder.layout import Root
        from qat_ladder.status import describe

        print(describe(Root(Path(root)), as_json=json))
        return Exit.OK

    guard(run)


def collection() -> Collection:
    """`ladder.n`, `ladder.s`, `ladder.m`, `ladder.status`, `ladder.plan`."""
    found = Collection("ladder")
    for letter in "ns":
        example = f"Example: invoke ladder.{letter} --seeds 0,1,2 --coco-root path/to/coco --profile short"
        text = f"Train, correct and compare yolov10{letter} over seeds.\n\n{example}"
        found.add_task(rung(f"yolo10{letter}", letter, text))
    found.add_task(gated)
    found.add_task(status)
    found.add_task(plan)
    return found
