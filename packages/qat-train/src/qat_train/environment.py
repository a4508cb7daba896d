"""The process around a run: settings that must be made before Ultralytics is imported, versions, git, threads."""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from qat_train.errors import ResourceError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@attrs.frozen(kw_only=True)
class Git:
    """The state of the working tree the code ran from; all None outside a repository."""

    commit: str | None
    branch: str | None
    dirty: bool | None


def prepare_environment(threads: int = 0) -> int:
    """Set what Ultralytics and OpenMP read at import. Call before torch or ultralytics is imported.

    No package is installed and nothing is sent or fetched at run time; settings live in a private folder, so that the
    user's own are neither read nor written. Returns the thread count (0 asks for every core).
    """
    count = threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(count)  # Ultralytics would set 1, OpenMP reads it once
    if "YOLO_CONFIG_DIR" not in os.environ:
        os.environ["YOLO_CONFIG_DIR"] = str(_private_folder())
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"
    os.environ["YOLO_OFFLINE"] = os.environ.get("YOLO_OFFLINE", "true")
    os.environ["HF_HUB_OFFLINE"] = "1"  # ModelOpt imports huggingface_hub
    # fp32 is fp32 on every device: with TensorFloat-32, torch's default for convolutions, an H100 moved outputs by a
    # thousandth, more than folding a correction may. Who wants speed has training.amp.
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    _keep_freed_memory()
    return count


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors instead of giving it back to the kernel after each operation.

    Every activation of a training step above 128 KiB is else mapped anew, and its pages are cleared one by one. Values
    that the user has set in the environment stand, and other C libraries have no such call.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 2**30)
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _private_folder() -> Path:
    """A folder for settings that no other account of this machine can have put there, or change.

    Raises:
        ResourceError: it belongs to another account.
    """
    folder = Path(tempfile.gettempdir()) / f"qat-train-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
        raise ResourceError(f"{folder} belongs to another account; set YOLO_CONFIG_DIR to a folder of your own")
    folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print on stdout, at the level of file descriptors, to stderr: stdout carries data."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def use_threads(count: int) -> None:
    """Give torch `count` threads again: Ultralytics' device selection leaves one core idle (1.44x on two cores)."""
    import torch

    torch.set_num_threads(count)


def versions(*more: str) -> dict[str, str]:
    """Versions of everything that can change a number; of the distributions in `more` too."""
    names = ["torch", "torchvision", "ultralytics", "nvidia-modelopt", "numpy", "opencv-python", "pillow", "qat-train"]
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in [*names, *more]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_state(folder: Path) -> Git:
    """Commit, branch and whether tracked files differ, of the repository around `folder`."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return Git(
        commit=commit,
        branch=git("rev-parse", "--abbrev-ref", "HEAD") if commit else None,
        dirty=None if status is None else bool(status),
    )
