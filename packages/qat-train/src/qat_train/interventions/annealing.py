"""The schedule that the oscillation papers anneal their strengths by."""

import math


def cosine(progress: float, *, start: float, first: float, last: float) -> float:
    """`first` before `start`, then half a cosine to `last` at 1; all in shares of the training.

    CosineTempDecay of the code of Nagel et al. (arXiv 2203.11086).

    >>> cosine(0.1, start=0.25, first=0.0, last=0.1), cosine(1.0, start=0.25, first=0.0, last=0.1)
    (0.0, 0.1)
    """
    if progress < start:
        return first
    done = (progress - start) / (1 - start)
    return last + (first - last) / 2 * (1 + math.cos(math.pi * done))
