"""Re-estimation of batch norm statistics: an arm of its own, because it may explain a correction's gain."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qat_qc.errors import CorrectionError


@torch.no_grad()
def reestimate_bn(model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object]) -> int:
    """Replace running mean and variance by the average over `batches`, the mean of batch statistics.

    Only batch norms leave evaluation mode, so dropout and heads behave as in inference; weights stay as they are.

    Args:
        model: changed in place: buffers of its batch norms.
        batches: at least one.
        forward: runs the model on a batch.

    Returns:
        How many batch norms were re-estimated; 0 for a network without any.

    Raises:
        CorrectionError: no batch came; the statistics are then as they were.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = {m: m.training for m in model.modules()}
    momenta = [norm.momentum for norm in norms]
    saved = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    seen = 0
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.training = True
        for batch in batches:
            forward(batch)
            seen += 1
    finally:
        for norm, momentum, state in zip(norms, momenta, saved, strict=True):
            norm.momentum = momentum
            if not seen:
                norm.load_state_dict(state)
        for module, mode in modes.items():
            module.training = mode
    if not seen:
        raise CorrectionError("no batch to estimate batch norm statistics from")
    return len(norms)
