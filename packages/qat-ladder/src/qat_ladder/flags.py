"""Flags of the ladder tasks: strings as invoke gives them, checked here so that a wrong one exits 2, not 1."""

import difflib
import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import attrs

from qat_ladder.compose import Layer, Resolved, compose, flatten, parse_setting, read_layer
from qat_ladder.errors import ConfigError
from qat_ladder.layout import slug

PROFILES = ("tiny", "demo", "smoke", "short", "full")


def choice(flag: str, value: str, allowed: Iterable[str]) -> str:
    """`value` if it is allowed.

    Raises:
        ConfigError: naming the flag, what is allowed, and the nearest name.
    """
    allowed = tuple(allowed)
    if value in allowed:
        return value
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"{flag} {value!r}: expected one of {', '.join(allowed)}{hint}")


def parse_seeds(text: str) -> list[int]:
    """Seeds of `0,1`, sorted.

    Raises:
        ConfigError: empty, repeated, negative, or no integers.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and part.isascii() for part in parts):
        raise ConfigError(f"--seeds {text!r}: expected integers from 0 separated by commas, such as 0,1")
    seeds = sorted(int(part) for part in parts)
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds {text!r}: a seed is repeated; seeds are independent repetitions")
    return seeds


def parse_jobs(text: str) -> int:
    """Number of `--jobs 2`; 0, as many as there are slots, where it was not given.

    Raises:
        ConfigError: no integer from 1.
    """
    if not text:
        return 0
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise ConfigError(f"--jobs {text!r}: expected an integer from 1")
    return int(text)


def parse_methods(text: str) -> list[str]:
    """Method names of `baseline,ema,ema+qc`, in that order, each once.

    Raises:
        ConfigError: none was given.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError(f"--methods {text!r}: expected names separated by commas, such as baseline,ema,ema+qc")
    return names


def expand_methods(names: Iterable[str], project: Path) -> list[str]:
    """Method names; a pattern such as `peer-*` stands for the names in configs/methods that it matches, sorted.

    Raises:
        ConfigError: a pattern matches none.
    """
    found: dict[str, None] = {}
    for name in names:
        if not set(name) & set("*?["):
            found[name] = None
            continue
        layers = [read_layer(path, "method") for path in (project / "configs" / "methods").glob("*.toml")]
        there = sorted(str(flatten(layer.content).get("method.name", Path(layer.origin).stem)) for layer in layers)
        matching = fnmatch.filter(there, name)
        if not matching:
            raise ConfigError(f"--methods {name}: no method in configs/methods matches (there: {', '.join(there)})")
        found |= dict.fromkeys(matching)
    return list(found)


def _refuse_identity(layer: Layer) -> None:
    """Variant and method come from the task and --methods: another name would file a run under what it is not."""
    for key in flatten(layer.content):
        if key == "model.variant" or key.startswith("method."):
            chosen = "--methods, a file in configs/methods" if key.startswith("method.") else "the task, ladder.n|s|m"
            raise ConfigError(f"{layer.origin}: {key} cannot be set; it is chosen by {chosen}")


@attrs.frozen(kw_only=True)
class Request:
    """What a ladder task was called with."""

    variant: str
    project: Path
    seeds: list[int]
    methods: list[str]
    profile: str = ""
    coco_root: str = ""
    checkpoint: str = ""
    trust_checkpoint: str = ""
    device: str = ""
    executor: str = ""
    jobs: str = ""
    slots: str = ""
    root: Path
    resume: str = "auto"
    trajectory: Literal["shared", "separate"] = "shared"
    dry_run: bool = False
    keep_going: bool = False
    stop_doomed: bool = False
    plain: bool = False
    gate_override: str = ""
    config: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def _given(self) -> list[Layer]:
        layers = [read_layer(Path(name), "given") for name in self.config]
        layers += [parse_setting(text) for text in self.settings]
        for flag, section, key, value in (
            ("--coco-root", "data", "coco_root", self.coco_root),
            ("--checkpoint", "model", "checkpoint", self.checkpoint),
            ("--trust-checkpoint", "model", "trust_checkpoint", self.trust_checkpoint),
            ("--device", "training", "device", self.device),
            ("--executor", "executor", "name", self.executor),
            ("--jobs", "executor", "jobs", parse_jobs(self.jobs)),
            ("--slots", "executor", "slots", self.slots),
        ):
            if value:
                layers.append(Layer(kind="given", origin=f"{flag} {value}", content={section: {key: value}}))
        for layer in layers:
            _refuse_identity(layer)
        return layers

    def demo_pretrained(self) -> Path:
        """Where `invoke pretrain.*` leaves weights for the drawn data, beside the run root."""
        return self.root.parent / "pretrain" / self.variant / "model.pt"

    def profile_name(self) -> str:
        """The profile asked for; otherwise demo for the drawn data, smoke for data of one's own."""
        if self.profile:
            return choice("--profile", self.profile, PROFILES)
        given = [flatten(layer.content).get("data.coco_root", "demo") for layer in self._given()]
        return "smoke" if any(value != "demo" for value in given) else "demo"

    def resolve(self, method: str) -> Resolved:
        """Base, variant, profile, method, --config, --set and flags, merged and checked; paths made absolute.

        Raises:
            ConfigError: every fault at once.
        """
        configs, profile = self.project / "configs", self.profile_name()
        variant, for_profile = self._variant(configs / "variants" / f"{self.variant}.toml", profile)
        resolved = compose(
            [
                read_layer(configs / "ladder.toml", "base"),
                variant,
                read_layer(configs / "profiles" / f"{profile}.toml", "profile"),
                for_profile,
                read_layer(configs / "methods" / f"{slug(method)}.toml", "method"),
                *self._given(),
            ]
        )
        return attrs.evolve(self._absolute(resolved), profile=profile, gate_override=self.gate_override)

    def _variant(self, path: Path, profile: str) -> tuple[Layer, Layer]:
        """A variant's keys, and those of its table [profiles.NAME.*] for the profile in use."""
        layer = read_layer(path, "variant")
        content = dict(layer.content)
        tables = content.pop("profiles", {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise ConfigError(f"{layer.origin}: profiles: keys belong into a section such as [profiles.tiny.training]")
        for name in tables:
            choice(f"{layer.origin}: [profiles.{name}]", name, PROFILES)
        own = Layer(kind="variant", origin=f"{layer.origin} [profiles.{profile}]", content=tables.get(profile, {}))
        return attrs.evolve(layer, content=content), own

    def _absolute(self, resolved: Resolved) -> Resolved:
        config = resolved.config
        model, data = config.model, config.data
        chosen = "model.checkpoint" in resolved.origins and resolved.origins["model.checkpoint"].kind == "given"
        if config.demo and not chosen:
            shipped = self.project / model.demo_checkpoint if model.demo_checkpoint else self.demo_pretrained()
            model = attrs.evolve(model, checkpoint=str(shipped.absolute()))
        else:
            model = attrs.evolve(model, checkpoint=str(Path(model.checkpoint).absolute()))
        if not config.demo:
            data = attrs.evolve(data, coco_root=str(Path(data.coco_root).absolute()))
        quantization = config.quantization
        if quantization.policy.endswith(".toml"):
            quantization = attrs.evolve(quantization, policy=str(Path(quantization.policy).absolute()))
        return attrs.evolve(resolved, config=attrs.evolve(config, model=model, data=data, quantization=quantization))
