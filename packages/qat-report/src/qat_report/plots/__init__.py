"""Plots of the page, each a text with one <svg> element."""

from qat_report.plots.classes import classes_svg
from qat_report.plots.finals import finals_svg
from qat_report.plots.marks import Sheet
from qat_report.plots.oscillation import apart, layers_svg, oscillation_svg
from qat_report.plots.series import series_svg
from qat_report.plots.svg import PlotRules

__all__ = ["PlotRules", "Sheet", "apart", "classes_svg", "finals_svg", "layers_svg", "oscillation_svg", "series_svg"]
