"""What a run root holds: which cells, under which keys. Later calls extend it or are refused."""

import datetime
from typing import Any, ClassVar, Literal

import attrs

import qat_artifacts
from qat_ladder.compose import Resolved
from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root, slug

Value = str | int | float | bool
# What may differ between two calls: machine, and what later stages read.
_FREE = (
    "training.device",
    "training.workers",
    "training.threads",
    "pretrain.",
    "gate.",
    "method.",
    "model.demo_checkpoint",
)


@attrs.frozen(kw_only=True)
class Cell:
    """One row of the comparison; cells of one (variant, arm, seed) share a training run."""

    variant: str
    method: str
    weights: Literal["raw", "ema"]
    correction: bool
    arm: str
    seed: int


@attrs.frozen(kw_only=True)
class Plan:
    """ladder.json. `keys` holds values by dotted key, by scope: "*", a variant, or "variant/arm".

    `profile` is the one that the plan began with; each run records its own. `gate_override` is the reason for which
    the gated variant was started against a NO-GO.
    """

    SCHEMA: ClassVar[str] = "ladder/plan"
    VERSION: ClassVar[str] = "1.0"

    created_at: str
    profile: str
    gate_override: str | None
    data_fingerprint: str
    trajectory: Literal["shared", "separate"]
    keys: dict[str, dict[str, Value]]
    cells: tuple[Cell, ...]


def arm_of(resolved: Resolved, trajectory: str) -> str:
    """Name of the training run that a method's cells come from.

    Methods that only choose weights share one; a method whose file sets any other key trains for itself.
    """
    own = any(
        layer.kind == "method" and not key.startswith(("method.", "qc.")) for key, layer in resolved.origins.items()
    )
    return slug(resolved.config.method.name) if own or trajectory == "separate" else "shared"


def make_plan(methods: list[Resolved], seeds: list[int], trajectory: Literal["shared", "separate"]) -> Plan:
    """The plan of one call; the data's fingerprint is filled in once it is prepared."""
    keys: dict[str, dict[str, Value]] = {}
    cells = []
    for resolved in methods:
        config = resolved.config
        arm = arm_of(resolved, trajectory)
        for key, value in resolved.flat().items():
            if key.startswith(_FREE):
                continue
            kind = resolved.origins[key].kind if key in resolved.origins else "base"
            own = {"variant": config.model.variant, "method": f"{config.model.variant}/{slug(config.method.name)}"}
            scope = config.model.variant if key.startswith("model.") else own.get(kind, "*")
            keys.setdefault(scope, {})[key] = value
        for seed in seeds:
            cells.append(
                Cell(
                    variant=config.model.variant,
                    method=config.method.name,
                    weights=config.method.weights,
                    correction=config.method.correction,
                    arm=arm,
                    seed=seed,
                )
            )
    return Plan(
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        profile=methods[0].profile,
        gate_override=None,
        data_fingerprint="",
        trajectory=trajectory,
        keys=keys,
        cells=tuple(cells),
    )


def read_plan(root: Root) -> Plan | None:
    """The plan of a run root, None where there is none yet."""
    return qat_artifacts.read(root.plan, Plan) if root.plan.exists() else None


def extend(old: Plan | None, new: Plan, root: Root) -> Plan:
    """The old plan and the new cells.

    Raises:
        ConfigError: a key has another value than before; the text names all of them, both values and the remedy.
    """
    if old is None:
        return new
    remedy = f"one run root holds one plan; choose another with --root runs/NAME, or give {root.path}'s values"
    if old.trajectory != new.trajectory:
        raise ConfigError(f"{root.plan}: trajectory is {old.trajectory!r} there and {new.trajectory!r} now; {remedy}")
    faults = [
        f"{key} is {old.keys[scope][key]!r} there and {value!r} now"
        for scope, values in new.keys.items()
        for key, value in values.items()
        if key in old.keys.get(scope, {}) and old.keys[scope][key] != value
    ]
    if faults:
        raise ConfigError(f"{root.plan}:\n  " + "\n  ".join(faults) + f"\n{remedy}")
    keys: dict[str, dict[str, Any]] = {scope: dict(values) for scope, values in old.keys.items()}
    for scope, values in new.keys.items():
        keys.setdefault(scope, {}).update(values)
    cells = {
        **{(c.variant, c.method, c.seed): c for c in old.cells},
        **{(c.variant, c.method, c.seed): c for c in new.cells},
    }
    return attrs.evolve(old, keys=keys, cells=tuple(cells[key] for key in sorted(cells)))
