"""benchmarks/GROUP.json: what a group's commands took, on which machine, with which versions, against which targets."""

import os
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import attrs
from attrs import validators

from qat_ladder.bench.case import Target

_COUNTED = (
    *("qat-artifacts", "qat-data", "qat-gate", "qat-ladder", "qat-qc", "qat-report", "qat-train", "msgspec", "numpy"),
    *("pillow", "pycocotools", "faster-coco-eval", "hotcoco", "orjson", "ultralytics", "torch", "nvidia-modelopt"),
    *("brevitas", "matplotlib", "polars", "pytest-benchmark"),
)
_positive = validators.ge(0)


@attrs.frozen(kw_only=True)
class Run:
    """One run: wall and CPU seconds, peak memory of the process in 10^6 bytes, and what else it printed."""

    seconds: float = attrs.field(validator=_positive)
    cpu: float = attrs.field(validator=_positive)
    peak_mb: float = attrs.field(validator=_positive)
    printed: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Result:
    """A contestant's runs, round by round; `absent` says why it cannot run here, `failed` what stopped it."""

    name: str
    command: tuple[str, ...]
    line: str | None = None
    size: float | None = None
    runs: tuple[Run, ...] = ()
    absent: str | None = None
    failed: str | None = None


@attrs.frozen(kw_only=True)
class Comparison:
    """A case and its results; fields as of `qat_ladder.bench.case.Case`."""

    name: str
    title: str
    about: str
    reference: str | None
    targets: tuple[Target, ...]
    equal: tuple[str, ...]
    results: tuple[Result, ...]


@attrs.frozen(kw_only=True)
class Machine:
    """Where it was measured; `cores` are those that the process may use, `load` is that of the minute before."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str
    load: float


@attrs.frozen(kw_only=True)
class Benchmark:
    """The artifact ladder/benchmark: one group. `part` is the part of the full sizes, `seconds` what all took."""

    SCHEMA: ClassVar[str] = "ladder/benchmark"
    VERSION: ClassVar[str] = "1.0"

    group: str
    title: str
    about: str
    measured_at: str
    part: float
    seconds: float
    machine: Machine
    versions: dict[str, str]
    comparisons: tuple[Comparison, ...]


def machine() -> Machine:
    """This one, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        processor=_processor(),
        cores=cores,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what is measured and of its peers, as far as they are installed."""
    installed = {dist.name.lower().replace("_", "-"): dist.version for dist in metadata.distributions()}
    return {name: installed[name] for name in _COUNTED if name in installed}


def public(command: Iterable[str], names: dict[str, str]) -> tuple[str, ...]:
    """A command line with the folders of this machine replaced by names, such as {"/tmp/work": "WORK"}."""
    shown = []
    for word in command:
        text = word
        for folder, name in sorted(names.items(), key=lambda item: -len(item[0])):
            text = text.replace(folder, name)
        shown.append(text)
    return tuple(shown)
