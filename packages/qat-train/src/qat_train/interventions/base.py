"""What an intervention may do, and when."""

from collections.abc import Mapping

from torch import Tensor


class Intervention:
    """Does nothing at any of its moments. `progress` is the share of the training's steps that are done, in [0, 1)."""

    def loss(self, images: Tensor, progress: float) -> Tensor | None:
        """A term beside the task's mean loss of a batch, a scalar; None adds none. The model has just seen `images`."""
        return None

    def constrain(self) -> None:
        """After the optimizer's step, before codes are counted: put back what must not move."""

    def after_step(self, progress: float) -> None:
        """After codes were counted, before the average takes the weights in."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
