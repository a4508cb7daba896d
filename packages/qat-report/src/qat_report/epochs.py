"""metrics.jsonl of a training run: one line an epoch, raw and averaged weights."""

import json
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.errors import ReportError
from qat_report.records import Event, unit_interval
from qat_report.views import EvaluationPoint, SeriesName


@attrs.frozen(kw_only=True)
class OscillationTotal:
    """Over all tracked weights: mean smoothed frequency, share of weights above the threshold, switches of a code.

    A switch is by weight where the weight alone would have moved the code, else by scale.
    """

    frequency: float = attrs.field(validator=unit_interval)
    share: float = attrs.field(validator=unit_interval)
    switches: int
    by_weight: int
    by_scale: int

    def __attrs_post_init__(self) -> None:
        if self.by_weight + self.by_scale != self.switches:
            raise ValueError(
                f"{self.by_weight} switches by weight and {self.by_scale} by scale are not {self.switches} switches"
            )


@attrs.frozen(kw_only=True)
class LayerOscillation:
    """Of one layer: share of its weights above the threshold, switches of its codes."""

    share: float = attrs.field(validator=unit_interval)
    switches: int


@attrs.frozen(kw_only=True)
class OscillationView:
    """How often codes changed back and forth during one epoch (Nagel et al., ICML 2022); `layers` by path."""

    momentum: float
    threshold: float
    total: OscillationTotal
    layers: dict[str, LayerOscillation] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class EpochView:
    """One line of metrics.jsonl. A loss that is not finite is None; so is an evaluation that gave no number."""

    epoch: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float
    loss: dict[str, float | None]
    raw: EvaluationPoint | None
    ema: EvaluationPoint | None
    events: tuple[Event, ...]
    oscillation: OscillationView | None = None
    learning_rate: float | None = None

    def point(self, series: SeriesName) -> EvaluationPoint | None:
        """The evaluation of one series."""
        return self.raw if series == "raw" else self.ema


def read_epochs(path: Path) -> tuple[EpochView, ...]:
    """All lines of a metrics.jsonl.

    Raises:
        ReportError: missing, or a line that is no JSON, or epochs that are not 1, 2, 3, ...
        InvalidArtifact: a field is wrong; the text names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: {error}") from error
    epochs = []
    for number, line in enumerate(lines, start=1):
        try:
            raw = qat_artifacts.loads(line)
        except (json.JSONDecodeError, ValueError, RecursionError) as error:
            raise ReportError(f"{path}:{number}: not valid JSON: {error}") from error
        record = qat_artifacts.structure(raw, EpochView, source=f"{path}:{number}", strict=False)
        if record.epoch != number:
            raise ReportError(f"{path}:{number}: epoch {record.epoch}, one line an epoch from 1 is expected")
        epochs.append(record)
    return tuple(epochs)
