"""What a run root holds: which cells, under which keys. Later calls extend it or are refused."""

import datetime
import hashlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs

import qat_artifacts
from qat_ladder.compose import Resolved
from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root, slug

Value = str | int | float | bool
Weights = Literal["raw", "ema"]
# What may differ between two calls: machine, and what later stages read.
_FREE = (
    "training.device",
    "training.workers",
    "training.threads",
    "pretrain.",
    "gate.",
    "executor.",
    "slurm.",
    "ray.",
    "method.",
    "model.demo_checkpoint",
    "model.trust_checkpoint",
)
# What each variant has for itself, as its file in configs/variants says; every other key is the same for all.
_OF_A_VARIANT = ("model.", "training.batch", "training.lr0")


@attrs.frozen(kw_only=True)
class Cell:
    """One row of the comparison; cells of one (variant, arm, seed) share a training run."""

    variant: str
    method: str
    weights: Weights
    correction: bool
    arm: str
    seed: int


@attrs.frozen(kw_only=True)
class Plan:
    """ladder.json. `keys` holds values by dotted key, by scope: "*", a variant, or "variant/folder of a method".

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

    Methods that only choose weights and corrections share one, "shared". Those whose files set training keys share one
    per set of values, named by it: `quantization.learned = true` gives "learned-true".
    """
    if trajectory == "separate":
        return slug(resolved.config.method.name)
    flat = resolved.flat()
    keys = sorted(key for key in resolved.own if not key.startswith(("method.", "qc.")))
    return "_".join(f"{key.partition('.')[2]}-{_spell(flat[key])}" for key in keys) or "shared"


def _spell(value: Value) -> str:
    """A value as part of a folder's name; what does not fit is told apart by a hash."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    fitting = re.sub(r"[^A-Za-z0-9.-]+", "-", text)
    return fitting if fitting == text else f"{fitting[-32:].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
            # By key, not by origin: the same value must meet itself whether a file or a flag gives it.
            scope = config.model.variant if key.startswith(_OF_A_VARIANT) else "*"
            if key in resolved.own:
                scope = f"{config.model.variant}/{slug(config.method.name)}"
                if kind == "given" and key.startswith("interventions."):
                    keys.setdefault("*", {})[key] = value  # rows of other methods train under it as well
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


def binding_plan(root: Root) -> Plan | None:
    """The plan that a root must be extended by; None also where no run was begun under it.

    A ladder that was refused by its first run (a policy of another name, say) leaves a plan that binds nobody.
    """
    begun = any(root.path.glob("trajectories/*/*/seed*/run.json"))
    return read_plan(root) if begun else None


def cells_of(plan: Plan, variant: str, arm: str, seed: int) -> list[Cell]:
    """The rows that a plan takes from one training run."""
    return [cell for cell in plan.cells if (cell.variant, cell.arm, cell.seed) == (variant, arm, seed)]


def extend(old: Plan | None, new: Plan, root: Root) -> Plan:
    """The old plan and the new cells.

    Raises:
        ConfigError: a key has another value than before, or an intervention is new or gone; the text names all of them,
            both values and the remedy.
    """
    if old is None:
        return new
    remedy = f"one run root holds one plan; choose another with --root runs/NAME, or give {root.path}'s values"
    if old.trajectory != new.trajectory:
        raise ConfigError(f"{root.plan}: trajectory is {old.trajectory!r} there and {new.trajectory!r} now; {remedy}")
    faults = [
        f"{key} is {_shown(old.keys[scope], key)} there and {_shown(values, key)} now"
        for scope, values in new.keys.items()
        if scope in old.keys
        for key in sorted(values.keys() | _interventions(old.keys[scope]))
        if (key in old.keys[scope] or key in _interventions(values)) and old.keys[scope].get(key) != values.get(key)
    ]
    arms = {(c.variant, c.method): c.arm for c in old.cells}
    faults += sorted(
        {
            f"{c.method} of {c.variant} is trained as {arms[c.variant, c.method]!r} there and as {c.arm!r} now"
            for c in new.cells
            if arms.get((c.variant, c.method), c.arm) != c.arm
        }
    )
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


def _interventions(values: Mapping[str, Value]) -> set[str]:
    """Keys of an open section: one that is not there is a value too."""
    return {key for key in values if key.startswith("interventions.")}


def _shown(values: Mapping[str, Value], key: str) -> str:
    return repr(values[key]) if key in values else "not set"
