"""What Quantization Correction asks of a model's owner. Any package can provide it under `qat_qc.tasks`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


class Layer(Protocol):
    """A convolution to correct, and the name of the batch norm that reads its output, if there is one."""

    @property
    def name(self) -> str:
        """Name of the convolution in the model."""

    @property
    def batch_norm(self) -> str | None:
        """Name of the batch norm that reads the convolution's output and nothing else, or None."""


class Grid(Protocol):
    """Access to the integer grid of a layer's weight."""

    def is_per_channel(self, name: str) -> bool:
        """Whether the layer has one scale per output channel."""

    def get_scale(self, name: str) -> Tensor:
        """Scale, shape (C, 1, 1, 1) per channel or () per tensor."""

    def set_scale(self, name: str, scale: Tensor) -> None:
        """Replace the scale; the last bit may differ afterwards."""

    def codes(self, name: str) -> Tensor:
        """Integer codes of the weight, its shape."""


class Task(Grid, Protocol):
    """A quantized model with its data, loss and evaluation; a factory `load(run_dir, weights, device)` makes one."""

    name: str
    run_id: str
    model: nn.Module
    images: int

    def layers(self) -> Iterable[Layer]:
        """Convolutions to correct."""

    def batches(self, seed: int) -> Iterable[tuple[Any, list[str]]]:
        """(batch, ids of its images): every training image once, real preprocessing, no augmentation."""

    def training_batches(self, seed: int) -> Iterable[tuple[Any, list[str]]]:
        """As `batches`, the images as the training saw them, augmentation included: what batch norms have been fed."""

    def forward(self, batch: Any) -> object:
        """Run the model on a batch in the modes that it finds; asked for by re-estimation only."""

    def loss(self, batch: Any) -> Tensor:
        """The task's loss of a batch, a scalar."""

    def evaluate(self) -> dict[str, Any]:
        """Evaluation point of the model as it stands, see docs/artifacts.md."""

    def save(self, out: Path) -> Path:
        """Write the model as it stands into the folder `out`; returns its checkpoint.json."""
