"""May yolov10m start? The gate's decision over a run root."""

import subprocess
from pathlib import Path

from qat_artifacts import Exit
from qat_ladder.compose import flatten, parse_setting, read_layer
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request
from qat_ladder.launch import argv, failure, say
from qat_ladder.layout import Root
from qat_ladder.stage import compare, run_stage, summaries


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


def run_gate(root: Root, policy: Path) -> int:
    """Decide, print the decision, show it in the comparison; returns 0 or 4.

    Raises:
        LadderError: the policy or a summary cannot be read, or there is none.
    """
    command = argv("qat-gate", "check", "--policy", policy, "--out", root.gate, *summaries(root))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (Exit.OK, Exit.NO_GO):
        raise failure("qat-gate", done.returncode, done.stderr)
    print(done.stdout.strip())
    compare(root)
    print(root.gate)
    return done.returncode


def run_m(request: Request, override: str) -> int:
    """The yolov10m stage, started only on GO or against an unmet gate for a stated reason.

    Raises:
        LadderError: see `run_gate` and `run_stage`.
    """
    config = request.resolve(request.methods[0]).config  # a wrong flag is found before the gate is asked
    code = run_gate(Root(request.root), request.project / config.gate.policy)
    if code == Exit.NO_GO and not override:
        say("error: the gate says NO-GO; yolov10m is not started (--override-gate REASON starts it all the same)")
        return code
    if code == Exit.NO_GO:
        say(f"gate overridden: {override}")
    return run_stage(request)
