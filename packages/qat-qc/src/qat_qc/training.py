"""Training of the corrections: one pass, each image once, nothing else moves."""

import time
from collections.abc import Callable, Collection
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from qat_qc.correction import PARAMETERS, Correction, Parameter, attach, fixed_batch_norm
from qat_qc.errors import CorrectionError
from qat_qc.visits import Batches, Visits

_MIN_GAMMA = 1e-3  # a scale must stay positive, so must the gamma that multiplies it


@attrs.frozen(kw_only=True)
class Progress:
    """State after one step. `loss` is that batch's."""

    epoch: int
    images_seen: int
    images: int
    loss: float
    seconds: float


@attrs.frozen(kw_only=True)
class Trained:
    """What a training did. `first` and `last` are losses of the first and the last batch."""

    steps: int
    images: int
    first: float
    last: float
    seconds: float


def train(
    model: nn.Module,
    correction: Correction,
    batches: Batches,
    loss: Callable[[Any], Tensor],
    *,
    images: int,
    parameters: Collection[Parameter] = PARAMETERS,
    epochs: int = 1,
    lr: float = 1e-4,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train gamma and beta, or one of them, by Adam on the task's loss; batch norms keep their statistics.

    Args:
        model: left exactly as it was: weights, buffers, modes and requires_grad.
        correction: trained in place.
        batches: called with `seed + epoch`; yields (batch, ids) that hold every image once.
        loss: a scalar for a batch; it runs the model, whose hooks apply the corrections.
        images: how many images an epoch has; what `batches` yields is held against it.
        parameters: which to train; the others stay as they are, to the bit.
        epochs: passes over the images; the paper's is 1.
        lr: of Adam. The paper states none; 1e-4 is ours.
        seed: order of the images, and torch's generator.
        report: called after every step.

    Raises:
        CorrectionError: epochs or lr out of range, an image comes twice or not at all, the loss is not finite, or
            something else than `parameters` changed.
        ValueError: `parameters` or the correction is empty, or a name is neither gamma nor beta.
    """
    if not parameters or set(parameters) - set(PARAMETERS):
        raise ValueError(f"parameters must be gamma, beta or both, found {tuple(parameters)}")
    if not correction.layers:
        raise ValueError("the correction has no layer to train")
    if epochs < 1 or not lr > 0:
        raise CorrectionError(f"epochs must be at least 1 and lr above 0, found {epochs} and {lr}")
    before = {name: value.detach().clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    frozen = [(p, p.requires_grad) for p in model.parameters()]
    trained = correction.parameters(parameters)
    fixed = [(p, p.detach().clone()) for p in correction.parameters(set(PARAMETERS) - set(parameters))]
    frozen += [(p, p.requires_grad) for p, _ in fixed]
    modes = {m: m.training for m in model.modules()}
    optimizer = torch.optim.Adam(trained, lr=lr, foreach=False)
    losses: list[float] = []
    started = time.monotonic()
    torch.manual_seed(seed)
    try:
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        with fixed_batch_norm(model), attach(model, correction):
            for epoch in range(epochs):
                visits = Visits(batches=batches(seed + epoch), images=images, name=f"epoch {epoch + 1}")
                for batch in visits:
                    value = loss(batch)
                    if not torch.isfinite(value):
                        raise CorrectionError(f"the loss became {value.item()} after {len(losses)} steps; lower --lr")
                    optimizer.zero_grad(set_to_none=True)
                    value.backward()  # type: ignore[no-untyped-call]  # torch publishes no signature
                    optimizer.step()
                    _keep_positive(correction)
                    losses.append(float(value.detach()))
                    spent = time.monotonic() - started
                    report(
                        Progress(
                            epoch=epoch + 1, images_seen=visits.seen, images=images, loss=losses[-1], seconds=spent
                        )
                    )
    finally:
        for parameter, needed in frozen:
            parameter.requires_grad_(needed)
        for module, mode in modes.items():
            module.training = mode
    _unchanged(before, model)
    if not all(torch.equal(parameter, value) for parameter, value in fixed):
        raise CorrectionError(f"training of {' and '.join(parameters)} alone moved the other one")
    return Trained(
        steps=len(losses),
        images=images,
        first=losses[0],
        last=losses[-1],
        seconds=time.monotonic() - started,
    )


@torch.no_grad()
def _keep_positive(correction: Correction) -> None:
    for layer in correction.layers:
        if layer.batch_norm is None:
            layer.gamma.clamp_(min=_MIN_GAMMA)


def _unchanged(before: dict[str, Tensor], model: nn.Module) -> None:
    after = model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed:
        raise CorrectionError(f"training moved {changed[0]}; only the correction may change")
