"""Work on many images, on all cores: reading and hashing release the interpreter, so threads do."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[str], None]

_AT_ONCE = 50  # images that a thread is given: a task for each of 118,287 would cost more memory than their labels
_TOLD = 1000  # images between two lines of progress

T = TypeVar("T")
R = TypeVar("R")


def on_all_cores(
    work: Callable[[Sequence[T]], list[R]], images: Sequence[T], split: str, progress: Progress
) -> list[R]:
    """What `work` makes of some images at a time, of all of them in their order; `progress` gets a line now and then.

    Raises:
        Exception: the first that `work` raises.
    """
    results: list[R] = []
    pieces = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done in pool.map(work, pieces):
            results += done
            if len(results) % _TOLD == 0 or len(results) == len(images):
                progress(f"{split}: {len(results)} of {len(images)} images checked")
    return results
