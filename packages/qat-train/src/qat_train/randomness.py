"""Random number generators: one seed per epoch, and evaluations that draw from none."""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def epoch_seed(seed: int, epoch: int, attempt: int = 0) -> int:
    """Seed of one epoch in [0, 2^32): a function of run seed, epoch (from 0), and how often the epoch was redone.

    An epoch that starts from its own seed can be redone alone; a generator's state would tie it to all before it.
    """
    text = f"{seed}/{epoch}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave every generator as it was found. Stock validation draws from Python's `random`."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
