"""Training of the corrections: one pass, each image once, nothing else moves."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from qat_qc.correction import Correction, attach, fixed_batch_norm
from qat_qc.errors import CorrectionError

Batches = Callable[[int], Iterable[tuple[Any, list[str]]]]
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
    epochs: int = 1,
    lr: float = 1e-4,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train gamma and beta by Adam on the task's loss; batch norms keep their statistics.

    Args:
        model: left exactly as it was: weights, buffers, modes and requires_grad.
        correction: trained in place.
        batches: called with `seed + epoch`; yields (batch, ids) that hold every image once.
        loss: a scalar for a batch; it runs the model, whose hooks apply the corrections.
        images: how many images an epoch has; what `batches` yields is held against it.
        epochs: passes over the images; the paper's is 1.
        lr: of Adam. The paper states none; 1e-4 is ours.
        seed: order of the images, and torch's generator.
        report: called after every step.

    Raises:
        CorrectionError: an image comes twice or not at all, the loss is not finite, or the model changed.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    frozen = [(p, p.requires_grad) for p in model.parameters()]
    modes = {m: m.training for m in model.modules()}
    optimizer = torch.optim.Adam(correction.parameters(), lr=lr, foreach=False)
    losses: list[float] = []
    started = time.monotonic()
    torch.manual_seed(seed)
    try:
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        with fixed_batch_norm(model), attach(model, correction):
            for epoch in range(epochs):
                seen: set[str] = set()
                for batch, ids in batches(seed + epoch):
                    _note(seen, ids)
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
                        Progress(epoch=epoch + 1, images_seen=len(seen), images=images, loss=losses[-1], seconds=spent)
                    )
                if len(seen) != images:
                    raise CorrectionError(f"epoch {epoch + 1} visited {len(seen)} images, the data set has {images}")
    finally:
        for parameter, needed in frozen:
            parameter.requires_grad_(needed)
        for module, mode in modes.items():
            module.training = mode
    _unchanged(before, model)
    return Trained(
        steps=len(losses),
        images=images,
        first=losses[0],
        last=losses[-1],
        seconds=time.monotonic() - started,
    )


def _note(seen: set[str], ids: list[str]) -> None:
    repeated = [i for i in ids if i in seen] or [i for i in set(ids) if ids.count(i) > 1]
    if repeated:
        raise CorrectionError(f"{repeated[0]} comes a second time in one epoch")
    seen.update(ids)


@torch.no_grad()
def _keep_positive(correction: Correction) -> None:
    for layer in correction.layers:
        if layer.batch_norm is None:
            layer.gamma.clamp_(min=_MIN_GAMMA)


def _unchanged(before: dict[str, Tensor], model: nn.Module) -> None:
    after = model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed:
        raise CorrectionError(f"training moved {changed[0]}; only gamma and beta may change")
