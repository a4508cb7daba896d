"""Official weights, fetched by Ultralytics itself where there is a network."""

from pathlib import Path

from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from qat_train.errors import InputError


def fetch_official(path: Path) -> None:
    """Download the asset that `path` is named after into its place; nothing if the file is there.

    Raises:
        InputError: no official weights have that name, or they could not be downloaded; the text says which file to put
            where.
    """
    if path.is_file():
        return
    if path.name not in GITHUB_ASSETS_NAMES:
        raise InputError(f"model.checkpoint: {path} does not exist, and no official weights are named {path.name}")
    try:
        attempt_download_asset(path)
    except Exception as error:  # urllib, requests and Ultralytics raise their own, none of them documented
        reason: str = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(_remedy(path, reason)) from error
    if not path.is_file():
        raise InputError(_remedy(path, "nothing was downloaded"))


def _remedy(path: Path, reason: str) -> str:
    return (
        f"model.checkpoint: {path} does not exist and could not be fetched ({reason}); "
        f"put the official {path.name} of the Ultralytics assets there, or name another file with --checkpoint"
    )
