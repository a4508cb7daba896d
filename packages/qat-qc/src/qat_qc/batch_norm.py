"""Re-estimation of batch norm statistics: an arm of its own, because it may explain a correction's gain."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qat_qc.errors import CorrectionError


@torch.no_grad()
def reestimate_bn(model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object]) -> int:
    """Replace running mean and variance by the average over `batches`, the mean of batch statistics.

    Only batch norms leave evaluation mode, so dropout and heads behave as in inference; weights stay as they are. Each
    norm sees what the norms before it make of the same batch, as in `torch.optim.swa_utils.update_bn`.

    Args:
        model: changed in place: statistics of its batch norms. A norm that no forward pass reaches keeps its own.
        batches: at least one.
        forward: runs the model on a batch, in the modes that it finds.

    Returns:
        How many batch norms were re-estimated; 0 for a network without any.

    Raises:
        CorrectionError: no batch came, a statistic is not finite, or anything else of the model changed. Statistics are
            then as they were, as after an error of `batches` or `forward`.
    """
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}
    modes = {m: m.training for m in model.modules()}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    before = {name: value.detach().clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    replaced: set[str] = set()
    seen = 0
    try:
        model.eval()
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.training = True
        for batch in batches:
            forward(batch)
            seen += 1
        if not seen:
            raise CorrectionError("no batch to estimate batch norm statistics from")
        _check(model, before, norms)
        replaced = {name for name, norm in norms.items() if norm.num_batches_tracked}
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
            if name not in replaced:
                for key, value in _statistics(name, norm).items():
                    value.copy_(before[key])
        for module, mode in modes.items():
            module.training = mode
    return len(replaced)


def _statistics(name: str, norm: _BatchNorm) -> dict[str, Tensor]:
    """The buffers of a norm, by their names in the model's state."""
    return {f"{name}.{key}" if name else key: value for key, value in norm.named_buffers(recurse=False)}


def _check(model: nn.Module, before: dict[str, Tensor], norms: dict[str, _BatchNorm]) -> None:
    statistics = {key: value for name, norm in norms.items() for key, value in _statistics(name, norm).items()}
    wrong = [key for key, value in statistics.items() if not torch.isfinite(value).all()]
    if wrong:
        raise CorrectionError(f"{wrong[0]} is not finite after re-estimation")
    after = model.state_dict()
    changed = [key for key, value in before.items() if key not in statistics and not torch.equal(value, after[key])]
    if changed:
        raise CorrectionError(f"re-estimation moved {changed[0]}; only batch norm statistics may change")
