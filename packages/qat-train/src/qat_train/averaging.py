"""Exponential moving average of latent weights, scales and batch-norm buffers.

θ' <- α_t θ' + (1 - α_t) θ with α_t = α (1 - exp(-t/τ)) (Gupta & Asthana, WACV 2024, arXiv 2311.05109, equation for θ';
the ramp is Ultralytics' ModelEMA). The paper's α = 0.9999 averages over 10,000 steps: over the 150 steps of a short run
it would return the starting weights. So α = 1 - 1/W with W = min(10000, steps/6), and τ = W/5.
What is evaluated is Q(θ'), the re-quantized average; quantized weights are never averaged (they would leave the grid).
"""

import math
from typing import Any

import attrs
from ultralytics.utils.torch_utils import ModelEMA

from qat_train.run import EmaBlock
from qat_train.spec import EmaKey

LONGEST_WINDOW = 10_000  # steps; the paper's 0.9999
WINDOWS_PER_RUN = 6
RAMPS_PER_WINDOW = 5


@attrs.frozen(kw_only=True)
class EmaSchedule:
    """Decay of a run. decay in (0, 1), tau in steps."""

    decay: float
    tau: float

    @property
    def window_steps(self) -> float:
        """W of decay = 1 - 1/W: the steps over which the average forgets."""
        return 1 / (1 - self.decay)

    def decay_at(self, step: int) -> float:
        """α_t after `step` updates."""
        return self.decay * (1 - math.exp(-step / self.tau))


def schedule(key: EmaKey, steps: int) -> EmaSchedule:
    """The schedule for a run of `steps` optimizer steps.

    >>> schedule(EmaKey(), 96).window_steps
    16.0
    """
    window = max(1.0, min(float(LONGEST_WINDOW), steps / WINDOWS_PER_RUN))
    # W = 1 would be no average at all; two steps are the shortest window that is one.
    decay = 1 - 1 / max(window, 2.0) if key.decay == "auto" else key.decay
    tau = (1 / (1 - decay)) / RAMPS_PER_WINDOW if key.tau == "auto" else key.tau
    return EmaSchedule(decay=decay, tau=tau)


def build_ema(model: Any, plan: EmaSchedule) -> ModelEMA:
    """Ultralytics' ModelEMA with our schedule; quantizers are in the model already, so it averages their scales too."""
    return ModelEMA(model, decay=plan.decay, tau=plan.tau)


class NoEma:
    """Stands where a trainer expects an EMA in a run that has none: falsy, holds no weights, updates nothing."""

    ema = None
    updates = 0

    def __bool__(self) -> bool:
        return False

    def update(self, model: Any) -> None:
        """Nothing to average."""

    def update_attr(self, model: Any, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> None:
        """Nothing to copy to."""


def describe(plan: EmaSchedule | None, steps: int) -> EmaBlock:
    """The block of run.json."""
    if plan is None:
        return EmaBlock(enabled=False)
    return EmaBlock(
        enabled=True,
        decay=plan.decay,
        tau=plan.tau,
        window_steps=plan.window_steps,
        steps=steps,
        final_decay=plan.decay_at(steps),
    )
