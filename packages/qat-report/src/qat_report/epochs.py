"""metrics.jsonl of a training run: one line an epoch, raw and averaged weights."""

import json
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.errors import ReportError
from qat_report.reading import read_whole
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
class TrackedTotal(OscillationTotal):
    """As in a line of metrics.jsonl, which counts the tracked `weights` too."""

    weights: int | None = None


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
    total: TrackedTotal
    layers: dict[str, LayerOscillation] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class LayerSpread:
    """One measure of every layer: the median layer and the largest."""

    median: float = attrs.field(validator=attrs.validators.ge(0.0))
    max: float = attrs.field(validator=attrs.validators.ge(0.0))


@attrs.frozen(kw_only=True)
class DriftView:
    """How far scales and running variances have moved by the end of an epoch.

    Of scales the relative change of a layer, since the epoch before and since the start, None where they stand; of
    batch norm the factor of a layer's variances since the start, 1 where they stand.
    """

    scale_since_before: LayerSpread | None
    scale_since_start: LayerSpread | None
    bn_variance: LayerSpread | None


@attrs.frozen(kw_only=True)
class EpochView:
    """One line of metrics.jsonl. A loss that is not finite is None; so is an evaluation that gave no number.

    `steps` counts those of the whole run so far. It, `oscillation`, `learning_rate` and `drift` are None in lines of
    before they were recorded.
    """

    epoch: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float
    loss: dict[str, float | None]
    raw: EvaluationPoint | None
    ema: EvaluationPoint | None
    events: tuple[Event, ...]
    oscillation: OscillationView | None = None
    learning_rate: float | None = None
    drift: DriftView | None = None
    steps: int | None = None

    def point(self, series: SeriesName) -> EvaluationPoint | None:
        """The evaluation of one series."""
        return self.raw if series == "raw" else self.ema


def read_epochs(path: Path) -> tuple[EpochView, ...]:
    """All lines of a metrics.jsonl.

    Raises:
        ReportError: missing, too large, or a line that is no JSON, or epochs that are not 1, 2, 3, ...
        InvalidArtifact: a field is wrong; the text names file, line and field.
    """
    try:
        lines = read_whole(path).decode().splitlines()
    except UnicodeDecodeError as error:
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
