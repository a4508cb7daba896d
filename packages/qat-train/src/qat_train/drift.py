"""How far scales and batch norm statistics have moved, measured at the end of every epoch.

What a quantizer clips, and what batch norm divides by, should settle while training settles. Both are held against the
starting model, which every run has (an average, the other candidate, is missing from a baseline), and scales against
the epoch before as well. Two numbers per layer:

    scale:       Σ_c |s_c - s'_c| / Σ_c s'_c                         0 unmoved, 1 by as much as it was large
    batch norm:  exp(mean_c |ln((σ²_c + ε) / (σ'²_c + ε))|)          1 unmoved, 2 doubled or halved

The first weighs channels by their scale, so that a channel of almost no weight does not speak for its layer; the second
is the geometric mean of what each channel changed by, in whichever direction, with the ε that the layer itself adds.
"""

from collections.abc import Iterable, Iterator, Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qat_train.insertion import active_quantizers, layer_scale
from qat_train.run import Drift, Spread


class DriftMeter:
    """Measures a model against what it was when the meter was built, and when `mark` was last called."""

    def __init__(self, model: nn.Module) -> None:
        """Start from a model before its first step; a resumed run loads the start that it had."""
        self._model = model
        self._start = dict(_scales(model))
        self._before = self._start
        self._variances = {name: variance.detach().clone() for name, variance, _ in _variances(model)}

    def mark(self) -> None:
        """Let the scales be those of the epoch before: at its end, and when a state of that time was loaded."""
        self._before = dict(_scales(self._model))

    def state(self) -> dict[str, Tensor]:
        """The start: another machine, or another number of threads, may calibrate the model otherwise."""
        return {f"scale.{k}": v for k, v in self._start.items()} | {
            f"variance.{k}": v for k, v in self._variances.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, if anything: states from before it was kept start from the model as it is."""
        self._start = {k: state.get(f"scale.{k}", v).to(v) for k, v in self._start.items()}
        self._variances = {k: state.get(f"variance.{k}", v).to(v) for k, v in self._variances.items()}

    @torch.no_grad()
    def record(self) -> Drift:
        """The movement until now. Scales that none moved are fixed ones: their spreads are None."""
        now = dict(_scales(self._model))
        moved = any(not torch.equal(scale, self._start[name]) for name, scale in now.items())
        return Drift(
            scale_since_before=_spread(_change(now[n], self._before[n]) for n in now) if moved else None,
            scale_since_start=_spread(_change(now[n], self._start[n]) for n in now) if moved else None,
            bn_variance=_spread(
                _fold(variance, self._variances[name], eps) for name, variance, eps in _variances(self._model)
            ),
        )


def _scales(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, _, quantizer in active_quantizers(model):
        yield name, layer_scale(quantizer).detach().clone()


def _variances(model: nn.Module) -> Iterator[tuple[str, Tensor, float]]:
    """(path, running variances, ε) of every batch norm that keeps statistics."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_var is not None:
            yield name, module.running_var, module.eps


def _change(now: Tensor, then: Tensor) -> float:
    return float((now - then).abs().sum() / then.sum())


def _fold(now: Tensor, then: Tensor, eps: float) -> float:
    return float(torch.log((now + eps) / (then + eps)).abs().mean().exp())


def _spread(values: Iterable[float]) -> Spread | None:
    """Of layers; None where there is none, or where one is not finite: the faults of its epoch are events."""
    found = torch.tensor(list(values), dtype=torch.float64)
    if not len(found) or not bool(found.isfinite().all()):
        return None
    return Spread(median=median(found.tolist()), max=float(found.max()))
