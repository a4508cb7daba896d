"""How the codes moved over the epochs, and in which layers, from the lines of the training runs behind the rows."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import attrs

from qat_report.epochs import EpochView, OscillationView
from qat_report.evidence import Evidence
from qat_report.grouping import Entry
from qat_report.numbers import ABSENT
from qat_report.tables import Table

MOST_LAYERS = 20  # of a plot or a table: those whose weights oscillate most


@attrs.frozen(kw_only=True)
class TrainingRun:
    """A training run that tracked its codes. `method` is that of its first row; its other rows share the run."""

    method: str
    seed: int
    trajectory: str
    epochs: tuple[EpochView, ...]

    @property
    def tracked(self) -> list[tuple[int, OscillationView]]:
        """The epochs that were tracked: one that diverged is not."""
        return [(epoch.epoch, epoch.oscillation) for epoch in self.epochs if epoch.oscillation is not None]


def training_runs(entries: Sequence[Entry], evidence: Mapping[str, Evidence]) -> list[TrainingRun]:
    """The tracked runs behind `entries`, each once, in their order."""
    found: dict[str, TrainingRun] = {}
    for entry in entries:
        behind = evidence.get(entry.path)
        if behind is not None and entry.summary.trajectory_id not in found:
            run = TrainingRun(
                method=entry.method, seed=entry.seed, trajectory=entry.summary.trajectory_id, epochs=behind.epochs
            )
            if run.tracked:
                found[run.trajectory] = run
    return list(found.values())


def arms(runs: Sequence[TrainingRun]) -> dict[str, list[TrainingRun]]:
    """Runs by their method: its seeds."""
    found: dict[str, list[TrainingRun]] = {}
    for run in runs:
        found.setdefault(run.method, []).append(run)
    return found


def layer_shares(runs: Sequence[TrainingRun]) -> dict[str, dict[int, float]]:
    """Share of a layer's weights that oscillate, in [0, 1], by layer and epoch: mean over the seeds of one arm."""
    values: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        for epoch, found in run.tracked:
            for layer, state in found.layers.items():
                values.setdefault(layer, {}).setdefault(epoch, []).append(state.share)
    return {layer: {epoch: fmean(shares) for epoch, shares in found.items()} for layer, found in values.items()}


def last_share(shares: Mapping[int, float]) -> float:
    """Of the last tracked epoch."""
    return shares[max(shares)]


def busiest(arms_shares: Sequence[Mapping[str, Mapping[int, float]]]) -> list[str]:
    """Layers by their largest last share in any arm, at most MOST_LAYERS, busiest first; ties by name."""
    largest: dict[str, float] = {}
    for shares in arms_shares:
        for layer, found in shares.items():
            largest[layer] = max(largest.get(layer, 0.0), last_share(found))
    return sorted(largest, key=lambda layer: (-largest[layer], layer))[:MOST_LAYERS]


def layer_table(entries: Sequence[Entry], runs: Sequence[TrainingRun]) -> Table | None:
    """The busiest layers of one variant: bits, weights, and the share that oscillates in the last epoch of each arm."""
    found = {method: layer_shares(own) for method, own in arms(runs).items()}
    layers = busiest(list(found.values()))
    if not layers:
        return None
    sizes = {layer.name: layer for entry in entries for layer in entry.summary.quantization.layers}
    rows = [
        (
            name,
            str(sizes[name].bits) if name in sizes else ABSENT,
            f"{sizes[name].elements:,}" if name in sizes else ABSENT,
            *(f"{last_share(shares[name]):.2%}" if name in shares else ABSENT for shares in found.values()),
        )
        for name in layers
    ]
    return Table(columns=("layer", "bits", "weights", *found), rows=tuple(rows))
