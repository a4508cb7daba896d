"""May yolov10m start? The gate's decision over a run root, and what follows from it."""

import json
import tempfile
from pathlib import Path

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.asking import ask
from qat_ladder.compose import Resolved, flatten, parse_setting, read_layer
from qat_ladder.dataset import prepare
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request
from qat_ladder.launch import call, failure, run, say
from qat_ladder.layout import Root
from qat_ladder.locking import held
from qat_ladder.plan import Plan, extend, make_plan, read_plan
from qat_ladder.stage import compare, run_stage, summaries

M = "yolo10m"


@attrs.frozen(kw_only=True)
class Evidence:
    """What the gate looks at: summaries (files, or folders that are searched), and the plan they belong to."""

    summaries: tuple[Path, ...]
    plan: Path | None


def evidence_of(root: Root) -> Evidence:
    """Everything a run root holds; the root itself where that is nothing yet."""
    return Evidence(
        summaries=tuple(path for path in summaries(root) if path.name != M) or (root.path,),
        plan=root.plan if root.plan.exists() else None,
    )


def chosen_evidence(request: Request, gate_root: str, gate_summaries: str) -> Evidence:
    """What --gate-root or --gate-summaries name; the run root itself without them.

    Raises:
        ConfigError: both are given, or a path is not there.
    """
    if gate_root and gate_summaries:
        raise ConfigError("--gate-root and --gate-summaries: give one of them")
    if gate_root:
        if not Path(gate_root).is_dir():
            raise ConfigError(f"--gate-root {gate_root}: there is no such folder")
        return evidence_of(Root(Path(gate_root)))
    if gate_summaries:
        files = [Path(part.strip()) for part in gate_summaries.split(",") if part.strip()]
        absent = [str(path) for path in files if not path.exists()]
        if absent or not files:
            raise ConfigError(
                f"--gate-summaries {gate_summaries}: not there: {', '.join(absent) or 'no path is given'}"
            )
        return Evidence(summaries=tuple(files), plan=None)
    return evidence_of(Root(request.root))


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
    policy, evidence = policy_path(project, settings), evidence_of(root)
    if dry_run:
        found = ", ".join(map(str, evidence.summaries)) if summaries(root) else "no run summary yet"
        print(f"policy   {policy}\nroot     {root.path}: {found}\nplan     {evidence.plan or 'none yet'}")
        return Exit.OK
    if not root.path.is_dir():
        raise ConfigError(f"{root.path}: there is no such run root; run `invoke ladder.n --root {root.path}` first")
    with held(root):
        plan = read_plan(root)
        if plan is not None:
            resolved = _as_planned(plan, root, project)
            _write_request(resolved, root, seeds=sorted({cell.seed for cell in plan.cells}), plan=plan)
        code = decide(root, policy, evidence, request=root.request(M) if plan else None)
        if summaries(root):
            compare(root)
    print(root.gate)
    return code


def _as_planned(plan: Plan, root: Root, project: Path) -> Resolved:
    """The yolov10m configuration that this plan's keys make."""
    keys = plan.keys.get("*", {}) | plan.keys.get(M, {})
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in keys.items() if not key.startswith("method."))
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
    qat_artifacts.write(root.request(M), asked, created_by="qat-ladder 0.1.0")


def decide(
    root: Root, policy: Path, evidence: Evidence, *, request: Path | None, override: str = "", out: Path | None = None
) -> int:
    """Write gate.json, print the decision; returns 0 or 4.

    Raises:
        LadderError: the policy or a summary cannot be read.
    """
    arguments: list[str | Path] = ["--policy", policy, "--out", out or root.gate]
    arguments += ["--plan", evidence.plan] if evidence.plan else []
    arguments += ["--request", request] if request else []
    arguments += ["--override", override] if override else []
    done = run("qat-gate", "check", *arguments, *evidence.summaries)
    if done.returncode not in (Exit.OK, Exit.NO_GO):
        raise failure("qat-gate", done.returncode, done.stderr)
    print(done.stdout.strip())
    return done.returncode


def run_m(request: Request, *, gate_root: str = "", gate_summaries: str = "", override: str = "") -> int:
    """`invoke ladder.m`: the yolov10m stage, started only on GO, or against a NO-GO for a stated reason.

    A NO-GO leaves the refused run's summary in ROOT/yolo10m and starts nothing.

    Raises:
        LadderError: wrong flags or keys, before the gate is asked; or see `run_stage`.
    """
    methods = [request.resolve(name) for name in request.methods]
    corrected = (m for m in methods if m.config.method.correction and "qc" in m.config.qc.stages)
    primary = next(corrected, methods[-1])
    evidence = chosen_evidence(request, gate_root, gate_summaries)
    root, policy = Root(request.root), request.project / primary.config.gate.policy
    old = read_plan(root)
    extend(old, make_plan(methods, request.seeds, request.trajectory), root)
    if request.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            asked = ask(primary, root, seeds=request.seeds, fingerprint=old.data_fingerprint if old else "")
            file = Path(folder) / "request.json"
            qat_artifacts.write(file, asked, created_by="qat-ladder 0.1.0")
            decide(root, policy, evidence, request=file, out=Path(folder) / "gate.json")
        return run_stage(request)
    with held(root):
        if old is None and (gate_root or gate_summaries):
            # The evidence lies elsewhere: whether it is about these data shows once they are prepared.
            fingerprint = prepare(primary.config, root, "", say)
            old = attrs.evolve(make_plan(methods, request.seeds, request.trajectory), data_fingerprint=fingerprint)
        _write_request(primary, root, seeds=request.seeds, plan=old)
        code = decide(root, policy, evidence, request=root.request(M), override=override)
        if code == Exit.NO_GO and not override:
            call("qat-report", "refuse", "--request", root.request(M), "--gate", root.gate, "--out", root.path / M)
            compare(root)
            say(f"error: the gate says NO-GO: yolov10m is not started; {root.path / M / 'summary.md'}")
            return code
        if code == Exit.NO_GO:
            say(f"gate overridden: {override}")
        for name in ("run_summary.json", "summary.md"):  # of an earlier refusal
            (root.path / M / name).unlink(missing_ok=True)
    return run_stage(attrs.evolve(request, gate_override=override if code == Exit.NO_GO else ""))
