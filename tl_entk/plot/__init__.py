"""Figures of result objects: matplotlib's Axes, or Altair charts with ``interactive=True``.

May import: tools, model, kernel, directions, alignment, weight_space, dynamics, language; and
feature_sets.
"""

from tl_entk.plot.alignments import alignment
from tl_entk.plot.attributions import shares
from tl_entk.plot.curves import course
from tl_entk.plot.forests import compare, directions
from tl_entk.plot.histograms import windows
from tl_entk.plot.responses import response
from tl_entk.plot.spectra import spectrum
from tl_entk.plot.tokens import contributions

__all__ = [
    "alignment",
    "compare",
    "contributions",
    "course",
    "directions",
    "response",
    "shares",
    "spectrum",
    "windows",
]
