"""Oscillation of the integer codes: over the epochs, and by layer.

Up to as many arms as there are colours share their panels; more get a small one each, for the share alone.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qat_report.oscillation import TrainingRun, arms, busiest, last_share, layer_shares
from qat_report.plots.marks import (
    MOST_SEEDS,
    Sheet,
    handle,
    hide_rest,
    legend,
    line_of,
    marker_of,
    seed_handles,
)
from qat_report.plots.svg import GRID, HEAT, INK, STYLE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_LEVELS = 5  # of shade: more are not told apart
_PANELS = 3  # arms side by side; the table names the others
_COLUMNS = 4  # of panels, where each arm has one
_NAME = 34  # characters of a layer's path: its end tells it from others


def apart(runs: Sequence[TrainingRun], sheet: Sheet) -> bool:
    """Whether the arms are too many for one panel: two of them would have one colour."""
    return not sheet.tells_apart(list(arms(runs)))


def oscillation_svg(runs: Sequence[TrainingRun], variant: str, sheet: Sheet) -> str:
    """Share of oscillating weights, and switches of a code, per epoch: a line per training run.

    Of arms that need a panel each, the share alone.
    """
    import matplotlib as mpl

    seeds = sorted({run.seed for run in runs})
    with mpl.rc_context(STYLE):
        figure, named = (_panel_each if apart(runs, sheet) else _shared_panels)(runs, seeds, sheet)
        legend(figure, [*named, *seed_handles(seeds, lines=True)])
        figure.supxlabel("epoch", fontsize=10, color=INK)
        return to_svg(
            figure,
            sheet.rules,
            name=f"oscillation-{variant}",
            title=f"Oscillation per epoch, {variant}",
            description="; ".join(
                f"{run.trajectory}: {found.total.share:.2%} of weights oscillate at epoch {epoch}, "
                f"{found.total.switches} switches in it"
                for run in runs
                for epoch, found in run.tracked[-1:]
            ),
        )


def _shared_panels(runs: Sequence[TrainingRun], seeds: Sequence[int], sheet: Sheet) -> tuple["Figure", list["Line2D"]]:
    figure = new_figure(10.4, 3.4)
    share, switches = figure.subplots(1, 2, sharex=True)
    for run in runs:
        look = _look(run, seeds, sheet)
        epochs = [epoch for epoch, _ in run.tracked]
        share.plot(epochs, [100.0 * found.total.share for _, found in run.tracked], **look)
        switches.plot(epochs, [found.total.switches for _, found in run.tracked], **look)
    for panel, title in ((share, "weights that oscillate, %"), (switches, "switches of a code per epoch")):
        _axes(panel, title)
        panel.set_ylim(bottom=0)
    return figure, [handle(arm, linestyle="-", color=sheet.colours[arm], linewidth=2.6) for arm in arms(runs)]


def _panel_each(runs: Sequence[TrainingRun], seeds: Sequence[int], sheet: Sheet) -> tuple["Figure", list["Line2D"]]:
    found = arms(runs)
    rows = -(-len(found) // _COLUMNS)
    figure = new_figure(10.4, 0.9 + 1.7 * rows)
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    for panel, (arm, own) in zip(panels, found.items(), strict=False):
        for run in own:
            shares = [100.0 * found.total.share for _, found in run.tracked]
            panel.plot([epoch for epoch, _ in run.tracked], shares, **_look(run, seeds, sheet))
        _axes(panel, arm)
        panel.title.set_fontsize(9.5)
    figure.axes[0].set_ylim(bottom=0)
    figure.supylabel("weights that oscillate, %", fontsize=10, color=INK)
    hide_rest(figure, len(found), _COLUMNS)
    return figure, []


def _look(run: TrainingRun, seeds: Sequence[int], sheet: Sheet) -> dict[str, Any]:
    """How the line of a training run is drawn; of many seeds, thin and alike."""
    colour = sheet.colours[run.method]
    if len(seeds) > MOST_SEEDS:
        return {"color": colour, "linewidth": 0.9, "alpha": 0.6}
    index = seeds.index(run.seed)
    every = max(1, len(run.epochs) // 24)
    return {
        "color": colour, "linestyle": line_of(index), "marker": marker_of(index), "markersize": 4, "markevery": every,
    }  # fmt: skip


def layers_svg(runs: Sequence[TrainingRun], variant: str, sheet: Sheet) -> str | None:
    """The busiest layers over the epochs, mean over seeds: darker is a larger share. None without layers, or all 0."""
    import matplotlib as mpl

    found = {method: layer_shares(own) for method, own in list(arms(runs).items())[:_PANELS]}
    layers = busiest(list(found.values()))
    top = max((s for shares in found.values() for layer in layers for s in shares.get(layer, {}).values()), default=0.0)
    if top <= 0.0:
        return None
    with mpl.rc_context(STYLE):
        figure = new_figure(10.4, 1.1 + 0.19 * len(layers))
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False).flat
        for panel, (method, shares) in zip(panels, found.items(), strict=True):
            _shade(panel, [shares.get(layer, {}) for layer in layers], top)
            _axes(panel, method)
            panel.grid(visible=False)
        first = figure.axes[0]
        first.set_yticks(range(len(layers)), [_end(layer) for layer in layers], fontsize=8)
        first.set_ylim(len(layers) - 0.5, -0.5)
        legend(figure, _shade_handles(top))
        figure.supxlabel("epoch", fontsize=10, color=INK)
        return to_svg(
            figure,
            sheet.rules,
            name=f"layers-{variant}",
            title=f"Oscillation by layer and epoch, {variant}",
            description="; ".join(
                f"{method}: {layer} {last_share(shares[layer]):.2%} in the last epoch"
                for method, shares in found.items()
                for layer in layers[:5]
                if layer in shares
            ),
        )


def _axes(panel: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(title, loc="left", fontweight="bold", fontsize=11)
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _shade(panel: "Axes", rows: Sequence[Mapping[int, float]], top: float) -> None:
    """One path per level of shade: a rectangle each would be most of the page."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    for level in range(1, _LEVELS + 1):
        cells = [
            Path(
                [(e - 0.5, y - 0.45), (e + 0.5, y - 0.45), (e + 0.5, y + 0.45), (e - 0.5, y + 0.45), (0, 0)],
                closed=True,
            )
            for y, shares in enumerate(rows)
            for e, share in shares.items()
            if _level(share, top) == level
        ]
        if cells:
            patch = Path.make_compound_path(*cells)
            panel.add_patch(PathPatch(patch, facecolor=HEAT, alpha=level / _LEVELS, linewidth=0))
    epochs = [epoch for shares in rows for epoch in shares]
    if epochs:
        panel.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)


def _level(share: float, top: float) -> int:
    """0 for a layer at rest, else 1 to _LEVELS."""
    return -int(-share * _LEVELS // top)  # rounded up


def _shade_handles(top: float) -> list[Any]:
    bounds = [100.0 * top * level / _LEVELS for level in range(_LEVELS + 1)]
    return [
        handle(f"to {high:.2g} %", marker="s", markersize=9, color=HEAT, alpha=level / _LEVELS, markeredgecolor=GRID)
        for level, high in enumerate(bounds[1:], start=1)
    ]


def _end(layer: str) -> str:
    return layer if len(layer) <= _NAME else f"…{layer[-_NAME:]}"
