"""Every image of the training set once in a pass: asserted, because a loader that repeats or drops some is silent."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from qat_qc.errors import CorrectionError

Batches = Callable[[int], Iterable[tuple[Any, list[str]]]]


@attrs.define(kw_only=True)
class Visits:
    """One pass over the images; iterating gives batches, `seen` counts images as they come."""

    batches: Iterable[tuple[Any, list[str]]]
    images: int
    name: str
    seen: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[Any]:
        """Batches, without the ids of their images.

        Raises:
            CorrectionError: an image comes a second time, or, at the end, some never came.
        """
        known: set[str] = set()
        for batch, ids in self.batches:
            repeated = [i for i in ids if i in known] or [i for i in set(ids) if ids.count(i) > 1]
            if repeated:
                raise CorrectionError(f"{repeated[0]} comes a second time in one epoch")
            known.update(ids)
            self.seen = len(known)
            yield batch
        if self.seen != self.images:
            raise CorrectionError(f"{self.name} visited {self.seen} images, the data set has {self.images}")
