"""May yolov10m start? The gate's decision over a run root."""

import subprocess
from pathlib import Path

from qat_artifacts import Exit
from qat_ladder.compose import parse_setting, read_layer
from qat_ladder.errors import ConfigError
from qat_ladder.launch import argv, failure
from qat_ladder.layout import Root
from qat_ladder.stage import compare, summaries


def policy_path(project: Path, settings: tuple[str, ...] = ()) -> Path:
    """`gate.policy` of configs/ladder.toml or --set, relative to the project."""
    policy = read_layer(project / "configs" / "ladder.toml", "base").content["gate"]["policy"]
    for text in settings:
        layer = parse_setting(text)
        if set(layer.content) != {"gate"} or set(layer.content["gate"]) != {"policy"}:
            raise ConfigError(f"{layer.origin}: this task knows gate.policy only")
        policy = layer.content["gate"]["policy"]
    return project / str(policy)


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
