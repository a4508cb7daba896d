"""`invoke doctor`: is everything here that a ladder needs, and if not, what to do."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from qat_artifacts import Exit
from qat_ladder.config import Config

_NEEDED = ("qat-data", "qat-train", "qat-qc", "qat-report", "qat-gate", "torch", "ultralytics", "nvidia-modelopt")
_EXPORT = ("onnx", "onnxruntime")  # the extra `export` of qat-train
_DISK = 5 * 2**30  # a run root of the full profile, without data

_NAMES = (
    "give another --coco-root, or the names of its files: "
    "--set data.train_json=FILE, data.train_dir, data.val_json, data.val_dir"
)
_TORCH = """
import json, torch
found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps(found))
"""


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do where it is not ok.

    `needed` False: a ladder runs without it.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding(name="python", ok=ok, found=platform.python_version(), remedy="install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for name in _NEEDED:
        try:
            yield Finding(name=name, ok=True, found=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name=name, ok=False, found="missing", remedy="pip install -r requirements.txt")


def _export() -> Finding:
    """Whether `invoke export.*` and `predict.*` can run."""
    found, missing = [], []
    for name in _EXPORT:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    text = f"{', '.join(missing)} missing" if missing else ", ".join(found)
    remedy = (
        "invoke export.* and predict.* need it: pip install -r requirements.txt, or pip install 'qat-train[export]'"
    )
    return Finding(name="export", ok=not missing, found=text, remedy=remedy, needed=False)


def _devices(device: str) -> Finding:
    done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return Finding(
            name="device", ok=False, found=last[0], remedy="reinstall torch: pip install -r requirements.txt"
        )
    names = json.loads(done.stdout)
    found = ", ".join(names) if names else f"no CUDA device, {os.cpu_count()} CPU cores"
    indices = [one for one in device.split(",") if one not in ("cpu", "auto")]
    ok = all(one.isdecimal() and int(one) < len(names) for one in indices)
    return Finding(name="device", ok=ok, found=found, remedy=f"--device {device} is not there; use cpu or auto")


def _disk(root: Path) -> Finding:
    place = next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    found = f"{free / 2**30:.0f} GiB free in {place}" + ("" if writable else ", not writable")
    return Finding(name="disk", ok=writable and free > _DISK, found=found, remedy="choose another --root")


def _weights(config: Config, made: Path | None) -> Finding:
    path = Path(config.model.checkpoint)
    ok = path.is_file()
    if config.demo and not ok and path == made:
        found, remedy = f"{path} is not there yet", "the ladder makes it first, from drawn data (`invoke pretrain.*`)"
        return Finding(name="weights", ok=False, needed=False, found=found, remedy=remedy)
    remedy = (
        f"put the official {path.name} there (Ultralytics fetches it where there is a network), or --checkpoint FILE"
    )
    return Finding(name="weights", ok=ok, found=str(path) if ok else f"{path} is missing", remedy=remedy)


def _data(config: Config) -> Finding:
    if config.demo:
        return Finding(name="data", ok=True, found="drawn on demand (demo)")
    source = Path(config.data.coco_root)
    data = config.data
    needed = [source / name for name in (data.train_json, data.train_dir, data.val_json, data.val_dir)]
    if source.suffix in (".yaml", ".yml"):
        needed = [source]
    missing = [str(path) for path in needed if not path.exists()]
    found = f"{', '.join(missing)} missing" if missing else str(source)
    return Finding(name="data", ok=not missing, found=found, remedy=_NAMES)


def examine(config: Config, root: Path, *, made: Path | None = None) -> list[Finding]:
    """Look at Python, packages, devices, disk, weights and data; `made`: weights that the ladder itself makes."""
    things = [_devices(config.training.device), _disk(root), _weights(config, made), _data(config)]
    return [_python(), *_packages(), _export(), *things]


def report(findings: list[Finding], *, as_json: bool) -> int:
    """Print the findings; 7 if something that a ladder needs is missing, else 0."""
    ok = all(f.ok or not f.needed for f in findings)
    if as_json:
        print(json.dumps({"ok": ok, "findings": [attrs.asdict(f) for f in findings]}))
    else:
        for f in findings:
            state = "ok" if f.ok else "MISSING" if f.needed else "without"
            print(f"{state:8}{f.name:16} {f.found}" + ("" if f.ok else f"\n{'':24} {f.remedy}"))
    return Exit.OK if ok else Exit.ENVIRONMENT
