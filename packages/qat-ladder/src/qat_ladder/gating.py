"""May yolov10m start? The gate's decision over a run root, and what follows from it."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import attrs
import tomli

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.asking import ask
from qat_ladder.compose import Resolved, flatten, parse_setting, read_layer
from qat_ladder.dataset import prepare
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request
from qat_ladder.launch import call, failure, run, say
from qat_ladder.layout import Root, slug
from qat_ladder.locking import held
from qat_ladder.plan import Plan, extend, make_plan, read_plan
from qat_ladder.stage import compare, run_stage, summaries
from qat_ladder.version import CREATED_BY

M = "yolo10m"


@attrs.frozen(kw_only=True)
class Evidence:
    """What the gate looks at.

    `summaries` are files, or folders that are searched; `plans` those of their run roots. `lost` are cells that a run
    root planned or began and holds no summary of, as VARIANT/METHOD/SEED: no file that is deleted makes one good.
    """

    summaries: tuple[Path, ...]
    plans: tuple[Path, ...]
    lost: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Variant:
    variant: str


@attrs.frozen(kw_only=True)
class _Training:
    seed: int


@attrs.frozen(kw_only=True)
class _Summary:
    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    model: _Variant
    method: _Variant
    training: _Training


def evidence_of(root: Root, methods: Iterable[str]) -> Evidence:
    """Everything a run root holds; the root itself where that is nothing yet.

    Args:
        root: of the evidence.
        methods: that the policy is about; every training run of the shared arm could give their rows.
    """
    return Evidence(
        summaries=_rows(root) or (root.path,),
        plans=(root.plan,) if root.plan.exists() else (),
        lost=tuple(sorted(_lost(root, methods))),
    )


def _rows(root: Root) -> tuple[Path, ...]:
    return tuple(path for path in summaries(root) if path.name != M)


def _lost(root: Root, methods: Iterable[str]) -> set[str]:
    """Planned cells and begun training runs without a summary in this root."""
    plan = read_plan(root)
    cells = plan.cells if plan else ()
    rows: dict[str, set[str]] = defaultdict(set)  # of an arm
    for method in methods:
        rows["shared"].add(method)
        rows[slug(method)].add(method)
    for cell in cells:
        rows[cell.arm].add(cell.method)
    known = {(cell.variant, cell.method, cell.seed) for cell in cells}
    for folder in root.path.glob("trajectories/*/*/seed*"):
        variant, arm, seed = folder.parts[-3:]
        number = seed.removeprefix("seed")
        if number.isdecimal():
            known |= {(variant, method, int(number)) for method in rows.get(arm, ())}
    found = set()
    for folder in _rows(root):
        for file in folder.rglob("run_summary.json"):
            with suppress(qat_artifacts.ArtifactError):  # what cannot be read the gate refuses by name
                summary = qat_artifacts.read_view(file, _Summary)
                found.add((summary.model.variant, summary.method.variant, summary.training.seed))
    return {f"{variant}/{method}/{seed}" for variant, method, seed in known - found if variant != M}


def _homes(paths: Iterable[Path]) -> Iterator[Path]:
    """Run roots that summaries, or the files they were made from, lie in: folders with a plan or training runs."""
    for path in paths:
        near = [path.absolute(), path.resolve()]
        for file in path.rglob("run_summary.json") if path.is_dir() else (path,):
            near.append(file.resolve())
            with suppress(qat_artifacts.ArtifactError):
                near += [(file.parent / ref.path).resolve() for ref in qat_artifacts.read_header(file).inputs]
        for place in near:
            for folder in (place, *place.parents):
                if (folder / "ladder.json").is_file() or (folder / "trajectories").is_dir():
                    yield folder


def _together(root: Root, files: list[Path], methods: tuple[str, ...]) -> Evidence:
    """The files, and all that their run roots and the one of the run asked for hold beside them: no seed is picked."""
    roots = {path.resolve(): Root(path) for path in (root.path, *_homes(files))}
    found = [evidence_of(home, methods) for home in roots.values() if home.path.is_dir()]
    own = [path for home in roots.values() for path in _rows(home)]
    return Evidence(
        summaries=(*own, *files),
        plans=tuple(plan for evidence in found for plan in evidence.plans),
        lost=tuple(sorted({cell for evidence in found for cell in evidence.lost})),
    )


def judged_methods(policy: Path) -> tuple[str, ...]:
    """Methods whose rows a policy asks for; none where it cannot be read, which the gate will say."""
    try:
        content = tomli.loads(policy.read_text(encoding="utf-8-sig"))
        return (content["method"], *content["comparison"]["methods"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def chosen_evidence(request: Request, policy: Path, gate_root: str, gate_summaries: str) -> Evidence:
    """What --gate-root or --gate-summaries name; the run root itself without them.

    Summaries that are named one by one bring everything else of their run roots with them, and what this root holds.

    Raises:
        ConfigError: both are given, or a path is not there.
    """
    methods = judged_methods(policy)
    if gate_root and gate_summaries:
        raise ConfigError("--gate-root and --gate-summaries: give one of them")
    if gate_root:
        if not Path(gate_root).is_dir():
            raise ConfigError(f"--gate-root {gate_root}: there is no such folder")
        return evidence_of(Root(Path(gate_root)), methods)
    if gate_summaries:
        files = [Path(part.strip()) for part in gate_summaries.split(",") if part.strip()]
        absent = [str(path) for path in files if not path.exists()]
        if absent or not files:
            raise ConfigError(
                f"--gate-summaries {gate_summaries}: not there: {', '.join(absent) or 'no path is given'}"
            )
        return _together(Root(request.root), files, methods)
    return evidence_of(Root(request.root), methods)


def policy_path(project: Path, settings: tuple[str, ...] = ()) -> Path:
    """`gate.policy` of configs/ladder.toml or --set, relative to the project."""
    base = project / "configs" / "ladder.toml"
    policy = flatten(read_layer(base, "base").content).get("gate.policy")
    if not isinstance(policy, str):
        raise ConfigError(f"{base}: gate.policy must name a TOML file of rules, found {policy!r}")
    for text in settings:
        layer = parse_setting(text)
        if set(flatten(layer.content)) != {"gate.policy"}:
            raise ConfigError(f"{layer.origin}: this task knows gate.policy only")
        policy = str(layer.content["gate"]["policy"])
    return project / policy


def run_gate(root: Root, project: Path, settings: tuple[str, ...], *, dry_run: bool = False) -> int:
    """`invoke gate.m`: decide about the yolov10m run that would extend this root's plan; returns 0 or 4.

    A dry run says what would be looked at, and returns 0.

    Raises:
        ConfigError: there is no such root.
        LadderError: the policy or a summary cannot be read.
    """
    policy = policy_path(project, settings)
    if dry_run:
        found = ", ".join(map(str, _rows(root))) or "no run summary yet"
        plan_file = root.plan if root.plan.exists() else "none yet"
        print(f"policy   {policy}\nroot     {root.path}: {found}\nplan     {plan_file}")
        return Exit.OK
    if not root.path.is_dir() or not (root.plan.exists() or _rows(root) or any(root.path.glob("trajectories/*"))):
        raise ConfigError(f"{root.path}: there is no such run root; run `invoke ladder.n --root {root.path}` first")
    with held(root):
        plan = read_plan(root)
        if plan is not None:
            resolved = _as_planned(plan, root, project)
            _write_request(resolved, root, seeds=sorted({cell.seed for cell in plan.cells}), plan=plan)
        code = decide(
            root,
            policy,
            evidence_of(root, judged_methods(policy)),
            request=root.request(M) if plan else None,
            override=_recorded(plan),
        )
        if summaries(root):
            compare(root)
    print(root.gate)
    return code


def _recorded(plan: Plan | None) -> str:
    """The reason for which the gated run of this plan was started against a NO-GO."""
    return (plan.gate_override or "") if plan else ""


def _as_planned(plan: Plan, root: Root, project: Path) -> Resolved:
    """The yolov10m configuration that this plan's keys make."""
    keys = plan.keys.get("*", {}) | plan.keys.get(M, {})
    chosen = ("method.", "model.variant")  # by the task
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in keys.items() if not key.startswith(chosen))
    request = Request(
        variant=M,
        project=project,
        seeds=[0],
        methods=["ema+qc"],
        profile=plan.profile,
        root=root.path,
        settings=settings,
    )
    return request.resolve("ema+qc")


def _write_request(resolved: Resolved, root: Root, *, seeds: list[int], plan: Plan | None) -> None:
    asked = ask(resolved, root, seeds=seeds, fingerprint=plan.data_fingerprint if plan else "")
    qat_artifacts.write(root.request(M), asked, created_by=CREATED_BY)


def decide(
    root: Root, policy: Path, evidence: Evidence, *, request: Path | None, override: str = "", out: Path | None = None
) -> int:
    """Write gate.json, print the decision; returns 0 or 4.

    Raises:
        LadderError: the policy or a summary cannot be read.
    """
    arguments: list[str | Path] = ["--policy", policy, "--out", out or root.gate]
    for plan in evidence.plans:
        arguments += ["--plan", plan]
    for cell in evidence.lost:
        arguments += ["--lost", cell]
    arguments += ["--request", request] if request else []
    arguments += ["--override", override] if override else []
    done = run("qat-gate", "check", *arguments, *evidence.summaries)
    if done.returncode not in (Exit.OK, Exit.NO_GO):
        raise failure("qat-gate", done.returncode, done.stderr)
    print(done.stdout.strip())
    return done.returncode


def run_m(request: Request, *, gate_root: str = "", gate_summaries: str = "", override: str = "") -> int:
    """`invoke ladder.m`: the yolov10m stage, started only on GO, or against a NO-GO for a stated reason.

    A NO-GO leaves the refused run's summary in ROOT/yolo10m and starts nothing. An earlier override of this root stays
    in the decision, but only a reason given now starts a run.

    Raises:
        LadderError: wrong flags or keys, before the gate is asked; or see `run_stage`.
    """
    if override and not override.strip():
        raise ConfigError("--override-gate: the reason must not be blank")
    methods = [request.resolve(name) for name in request.methods]
    corrected = (m for m in methods if m.config.method.correction and "qc" in m.config.qc.stages)
    primary = next(corrected, methods[-1])
    root, policy = Root(request.root), request.project / primary.config.gate.policy
    evidence = chosen_evidence(request, policy, gate_root, gate_summaries)
    old = read_plan(root)
    recorded = override or _recorded(old)
    extend(old, make_plan(methods, request.seeds, request.trajectory), root)
    if request.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            asked = ask(primary, root, seeds=request.seeds, fingerprint=old.data_fingerprint if old else "")
            file = Path(folder) / "request.json"
            qat_artifacts.write(file, asked, created_by=CREATED_BY)
            decide(root, policy, evidence, request=file, override=recorded, out=Path(folder) / "gate.json")
        return run_stage(request)
    with held(root):
        evidence = chosen_evidence(request, policy, gate_root, gate_summaries)  # as it is now that nobody else writes
        if old is None and (gate_root or gate_summaries):
            # The evidence lies elsewhere: whether it is about these data shows once they are prepared.
            fingerprint = prepare(primary.config, root, "", say)
            old = attrs.evolve(make_plan(methods, request.seeds, request.trajectory), data_fingerprint=fingerprint)
        _write_request(primary, root, seeds=request.seeds, plan=old)
        code = decide(root, policy, evidence, request=root.request(M), override=recorded)
        if code == Exit.NO_GO and not override:
            call("qat-report", "refuse", "--request", root.request(M), "--gate", root.gate, "--out", root.path / M)
            compare(root)
            say(f"error: the gate says NO-GO: yolov10m is not started; {root.path / M / 'summary.md'}")
            return code
        if code == Exit.NO_GO:
            say(f"gate overridden: {override}")
        for name in ("run_summary.json", "summary.md"):  # of an earlier refusal
            (root.path / M / name).unlink(missing_ok=True)
        # Under the same lock: the evidence cannot change between the decision and the start.
        return run_stage(attrs.evolve(request, gate_override=override if code == Exit.NO_GO else ""))
