"""Our best row against each row of another library's quantizers, seed by seed, at the same width."""

import statistics
from collections.abc import Sequence

import attrs

from qat_ladder.campaign.evidence import Cell, Evidence, Result, highest

OURS = "nvidia-modelopt"  # the library that holds our own quantizers, as run.json names it
ENOUGH = 3  # seeds from which on a spread says something


@attrs.frozen(kw_only=True)
class Duel:
    """One row of ours against one peer, over the seeds that count in both.

    Attributes:
        ours: our row.
        peer: the other library's.
        differences: ours minus the peer's final mAP50-95, by seed.
        spread: the larger of the two rows' standard deviations over these seeds (n - 1); None with one seed.
        apart: whether our worst seed is above the peer's best.
    """

    ours: str
    peer: str
    peer_mean: float
    differences: dict[int, float]
    spread: float | None
    apart: bool

    @property
    def mean(self) -> float:
        """Mean difference."""
        return sum(self.differences.values()) / len(self.differences)

    @property
    def won(self) -> bool | None:
        """Whether every seed is ahead, and the mean by more than the spread; None with fewer than three seeds."""
        if len(self.differences) < ENOUGH or self.spread is None:
            return None
        return min(self.differences.values()) > 0 and self.mean > self.spread


def contests(evidence: Evidence) -> list[list[Duel]]:
    """Our best whole row against every peer, then at the widths of the peers that have fewer bits than it.

    A layer policy that keeps more layers at 8 bits is not free, so for each width at which peers are narrower than our
    best row, our best row of no more bits meets them once more. Best is the highest mean of the rows with the most
    seeds: a row with one seed does not stand for us where another has three. It is chosen on the same images that
    decide the duel, which favours us by what the choice picks up of chance; a peer is not chosen, all its rows are
    shown.

    Returns:
        One list for each of our rows, its peers in the order of the rows; none where a side is missing.
    """
    first = {result.method: result for result in reversed(evidence.results)}
    own = [cell for cell in evidence.cells if evidence.whole(cell) and first[cell.method].library == OURS]
    if (best := highest(own)) is None:
        return []
    mode = first[best.method].mode
    alike = [cell for cell in evidence.cells if cell.method in first and first[cell.method].mode == mode]
    peers = [cell for cell in alike if is_peer(first[cell.method])]
    met = [_duels(best, peers, evidence)]
    width = {cell.method: evidence.bits(cell.method) or 0.0 for cell in (*own, *peers)}
    for bits in sorted({width[peer.method] for peer in peers if width[peer.method] < width[best.method]}, reverse=True):
        ours = highest([cell for cell in own if cell in alike and width[cell.method] <= bits])
        met += [_duels(ours, [p for p in peers if width[p.method] == bits], evidence)] if ours else []
    return [found for found in met if found]


def _duels(ours: Cell, peers: Sequence[Cell], evidence: Evidence) -> list[Duel]:
    return [duel for peer in peers if (duel := _duel(ours, peer, evidence))]


def is_peer(result: Result) -> bool:
    """Whether another library quantized it."""
    return result.library not in {OURS, "none"}


def _duel(best: Cell, peer: Cell, evidence: Evidence) -> Duel | None:
    ours, theirs = _finals(evidence.of(best.method)), _finals(evidence.of(peer.method))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    mine, other = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    return Duel(
        ours=best.method,
        peer=peer.method,
        peer_mean=sum(other) / len(other),
        differences={seed: ours[seed] - theirs[seed] for seed in seeds},
        spread=max(statistics.stdev(mine), statistics.stdev(other)) if len(seeds) > 1 else None,
        apart=min(mine) > max(other),
    )


def _finals(results: Sequence[Result]) -> dict[int, float]:
    return {r.seed: r.final_value for r in results if r.counted and r.final_value is not None}
