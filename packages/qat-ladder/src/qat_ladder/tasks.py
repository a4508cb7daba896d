"""The invoke collections. Flags are strings that are checked here, so that a wrong one exits 2."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from invoke import Collection
from invoke import task as _task

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder import upkeep
from qat_ladder.errors import LadderError

PROJECT = Path.cwd()
task: Callable[..., Callable[[Any], Any]] = _task  # invoke publishes no types

_HELP = {
    "seeds": "Seeds of the training runs, separated by commas.",
    "methods": "Rows of the comparison; names of files in configs/methods.",
    "profile": "tiny, demo, smoke, short or full; demo without --coco-root, smoke with it.",
    "coco-root": "A folder in COCO2017 layout or a YOLO data.yaml; drawn data without it.",
    "checkpoint": "Starting weights, a .pt file of Ultralytics.",
    "device": "cpu, auto or a CUDA index.",
    "root": "Run root; one root holds one plan, later calls extend it.",
    "resume": "auto continues what was cut off, never starts over, must takes no new cell.",
    "keep-going": "Go on with other cells after a fault that all may share.",
    "trajectory": "shared: one run per seed gives all rows; separate: a run per row.",
    "dry-run": "Print plan, cells with their state, and estimate; start and write nothing.",
    "config": "A TOML file of keys; may be repeated.",
    "set": "section.key=value; may be repeated.",
}


def _exit(body: Callable[[], int]) -> None:
    """Run a task's body under the exit codes of the project."""

    def guarded() -> int:
        try:
            return body()
        except LadderError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.code

    failures: dict[type[Exception], Exit] = {qat_artifacts.ArtifactError: Exit.INPUT, OSError: Exit.ENVIRONMENT}
    sys.exit(qat_artifacts.run_command(guarded, failures))


def _flags(local: dict[str, Any]) -> dict[str, Any]:
    """A task's own flags among its local names."""
    return {
        key: value
        for key, value in local.items()
        if key not in ("_context", "variant", "method", "out", "gate_root", "gate_summaries", "override_gate")
    }


def _request(variant: str, **flags: Any) -> Any:
    from qat_ladder.flags import Request, choice, parse_methods, parse_seeds

    return Request(
        variant=variant,
        project=PROJECT,
        seeds=parse_seeds(flags.get("seeds", "0")),
        methods=parse_methods(flags.get("methods", "baseline")),
        profile=flags.get("profile", ""),
        coco_root=flags.get("coco_root", ""),
        checkpoint=flags.get("checkpoint", ""),
        device=flags.get("device", ""),
        root=Path(flags.get("root", "runs/ladder")),
        resume=choice("--resume", flags.get("resume", "auto"), ("auto", "never", "must")),
        trajectory=cast(Any, choice("--trajectory", flags.get("trajectory", "shared"), ("shared", "separate"))),
        dry_run=flags.get("dry_run", False),
        keep_going=flags.get("keep_going", False),
        config=tuple(flags.get("config") or ()),
        settings=tuple(flags.get("set") or ()),
    )


_ROWS = "baseline,ema,ema+qc"
# Which part of a gain is averaging, which fresh batch norm statistics, which the correction itself? One trajectory.
_ATTRIBUTION = "baseline,bn,ema,ema+bn,ema+qc,ema+bn+qc,qc"


def _ladder(variant: str, text: str, rows: str = _ROWS) -> Any:
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        seeds: str = "0,1",
        methods: str = rows,
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        device: str = "",
        root: str = "runs/ladder",
        resume: str = "auto",
        trajectory: str = "shared",
        dry_run: bool = False,
        keep_going: bool = False,
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = _flags(locals())

        def run() -> int:
            from qat_ladder.stage import run_stage

            return run_stage(_request(variant, **flags))

        _exit(run)

    body.__doc__ = text
    return task(help=_HELP, iterable=["config", "set"], name=variant[-1])(body)


@task(
    help=_HELP
    | {
        "gate-root": "Run root of the evidence; --root itself without it.",
        "gate-summaries": "The evidence as run_summary.json files, separated by commas.",
        "override-gate": "Start against a NO-GO; the reason is kept in every later artifact.",
    },
    iterable=["config", "set"],
    name="m",
)
def ladder_m(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    seeds: str = "0,1",
    methods: str = _ROWS,
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    device: str = "",
    root: str = "runs/ladder",
    resume: str = "auto",
    trajectory: str = "shared",
    dry_run: bool = False,
    keep_going: bool = False,
    gate_root: str = "",
    gate_summaries: str = "",
    override_gate: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Train, correct and compare yolov10m, if the gate over the run root says GO; exit 4 otherwise.

    Example: invoke ladder.m --seeds 0,1 --coco-root path/to/coco --profile short --gate-root runs/ladder
    """
    flags = _flags(locals())

    def run() -> int:
        from qat_ladder.gating import run_m

        return run_m(
            _request("yolo10m", **flags), gate_root=gate_root, gate_summaries=gate_summaries, override=override_gate
        )

    _exit(run)


_PRETRAIN = """Train floating-point weights of yolov10{0}.

Example: invoke pretrain.{0} --coco-root path/to/data --out my-yolov10{0}.pt"""


def _pretrain(variant: str, text: str) -> Any:
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        out: str = "",
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        device: str = "",
        root: str = "runs/pretrain",
        resume: str = "auto",
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = _flags(locals())

        def run() -> int:
            from qat_ladder.pretraining import run_pretrain

            return run_pretrain(_request(variant, **flags), Path(out) if out else None)

        _exit(run)

    body.__doc__ = text
    own = {key: _HELP[key] for key in ("profile", "coco-root", "device", "root", "resume", "config", "set")}
    own |= {"out": "Copy the weights to this file.", "checkpoint": "Start from it; from scratch without."}
    return task(help=own, iterable=["config", "set"], name=variant[-1])(body)


def _sensitivity(letter: str) -> Any:
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        device: str = "",
        root: str = "runs/sensitivity",
        budget: str = "",
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = _flags(locals())

        def run() -> int:
            from qat_ladder.sensitivity import run_sensitivity

            return run_sensitivity(_request(f"yolo10{letter}", **flags), budget)

        _exit(run)

    body.__doc__ = f"Measure what each layer of yolov10{letter} alone loses, and write a mixed policy within a budget."
    own = {key: _HELP[key] for key in ("profile", "coco-root", "checkpoint", "device", "root", "config", "set")}
    own["budget"] = "Average bits per quantized weight of the mixed policy; half a bit above its base without."
    return task(help=own, iterable=["config", "set"], name=letter)(body)


@task(help={"root": _HELP["root"], "json": "One JSON document."})
def status(_context: Any, root: str = "runs/ladder", json: bool = False) -> None:
    """How far each cell of a run root is, what is left to do, and who is at work there."""

    def run() -> int:
        from qat_ladder.layout import Root
        from qat_ladder.status import describe

        print(describe(Root(Path(root)), as_json=json))
        return Exit.OK

    _exit(run)


@task(
    help={"root": _HELP["root"], "dry-run": "Say what would be looked at and stop.", "set": "gate.policy=FILE"},
    iterable=["set"],
)
def m(_context: Any, root: str = "runs/ladder", dry_run: bool = False, set: Any = None) -> None:
    """Decide whether yolov10m may start; exit 0 is GO, 4 is NO-GO.

    Example: invoke gate.m --root runs/ladder
    """

    def run() -> int:
        from qat_ladder.gating import run_gate
        from qat_ladder.layout import Root

        return run_gate(Root(Path(root)), PROJECT, tuple(set or ()), dry_run=dry_run)

    _exit(run)


@task(help={"root": _HELP["root"]})
def report(_context: Any, root: str = "runs/ladder") -> None:
    """Write the comparison of a run root anew and print it."""

    def run() -> int:
        from qat_ladder.layout import Root
        from qat_ladder.stage import compare

        print(compare(Root(Path(root))))
        return Exit.OK

    _exit(run)


@task(
    help={"out": "The new folder.", **{k: _HELP[k] for k in ("coco-root", "profile", "config", "set")}},
    iterable=["config", "set"],
)
def prepare(
    _context: Any,
    out: str,
    coco_root: str = "",
    profile: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Prepare the data of a configuration in a folder of its own."""
    flags = {"coco_root": coco_root, "profile": profile, "config": config, "set": set}

    def run() -> int:
        from qat_ladder.dataset import DEMO, draw, prepare_arguments
        from qat_ladder.launch import call

        resolved = _request("yolo10n", **flags).resolve("baseline").config
        source = draw(Path(f"{out}-drawn"), DEMO) if resolved.demo else Path(resolved.data.coco_root)
        print(call("qat-data", "prepare", *prepare_arguments(resolved, source), "--out", out).strip())
        return Exit.OK

    _exit(run)


@task(help={"path": "A prepared folder, a COCO root or a data.yaml."})
def check(_context: Any, path: str) -> None:
    """Check a data set; exit 3 if it cannot be used."""

    def run() -> int:
        from qat_ladder.launch import call

        print(call("qat-data", "check", path).strip())
        return Exit.OK

    _exit(run)


@task(
    help={
        "variant": "yolo10n, yolo10s or yolo10m.",
        "method": "Name of a file in configs/methods.",
        **{k: _HELP[k] for k in ("profile", "coco-root", "checkpoint", "device", "config", "set")},
    },
    iterable=["config", "set"],
)
def show(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variant: str = "yolo10n",
    method: str = "baseline",
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    device: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Print the resolved configuration and where each key comes from."""
    flags = _flags(locals())

    def run() -> int:
        from qat_ladder.compose import render

        print(render(_request(variant, **flags).resolve(method)))
        return Exit.OK

    _exit(run)


@task(
    help={
        "json": "One JSON document.",
        "variant": "yolo10n, yolo10s or yolo10m.",
        **{k: _HELP[k] for k in ("root", "coco-root", "checkpoint", "device")},
    }
)
def doctor(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variant: str = "yolo10n",
    root: str = "runs/ladder",
    coco_root: str = "",
    checkpoint: str = "",
    device: str = "",
    json: bool = False,
) -> None:
    """Say what a ladder would miss on this machine, and the remedy; exit 7 if anything."""

    def run() -> int:
        from qat_ladder.doctor import examine
        from qat_ladder.doctor import report as tell

        request = _request(variant, root=root, coco_root=coco_root, checkpoint=checkpoint, device=device)
        return tell(examine(request.resolve("baseline").config, request.root), as_json=json)

    _exit(run)


def collection() -> Collection:
    """Every task: ladder, attribution, sensitivity, pretrain, gate, data, config, docs, report, doctor."""
    ladder = Collection("ladder")
    attribution = Collection("attribution")
    sensitivity = Collection("sensitivity")
    pretrain = Collection("pretrain")
    for letter, name in (("n", "yolov10n"), ("s", "yolov10s")):
        variant = f"yolo10{letter}"
        example = f"Example: invoke ladder.{letter} --seeds 0,1,2 --coco-root path/to/coco --profile short"
        ladder.add_task(_ladder(variant, f"Train, correct and compare {name} over seeds.\n\n{example}"))
        about = (
            f"What makes {name} better: averaging, fresh batch norm statistics, or the correction?\n\n"
            f"The task ladder.{letter} with --methods {_ATTRIBUTION}: seven rows of one training run per seed.\n\n"
            f"Example: invoke attribution.{letter} --seeds 0,1,2 --coco-root path/to/coco"
        )
        attribution.add_task(_ladder(variant, about, _ATTRIBUTION))
    for letter in "nsm":
        sensitivity.add_task(_sensitivity(letter))
        pretrain.add_task(_pretrain(f"yolo10{letter}", _PRETRAIN.format(letter)))
    ladder.add_task(ladder_m)
    ladder.add_task(status)
    gate = Collection("gate")
    gate.add_task(m)
    data = Collection("data")
    data.add_task(prepare)
    data.add_task(check)
    config = Collection("config")
    config.add_task(show)
    root = Collection(
        ladder, attribution, sensitivity, pretrain, gate, data, config, *upkeep.collections(_exit, PROJECT)
    )
    root.add_task(report)
    root.add_task(doctor)
    return root
