"""How every figure looks: colors, shapes and dashes, axes of matplotlib, charts of Altair.

No figure tells things apart by color alone. The colors are those of Okabe and Ito that show on
white and on black; no chart sets a background or the color of text, so that a page's theme does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import altair as alt
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.transforms import ScaledTranslation

from feature_sets.errors import UserError
from tl_entk.tools.values import check_kind, is_integer

# matplotlib's Axes, or an Altair chart where ``interactive`` is set
Figure: TypeAlias = Any
# of an Altair chart: pixels, axis labels included, or as wide as the page's element is
Width: TypeAlias = int | Literal["container"]
DEFAULT_WIDTH = 680

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
GRAY = "#8A8A8A"

_SHAPES = (
    ("circle", "o"),
    ("square", "s"),
    ("triangle-up", "^"),
    ("diamond", "D"),
    ("cross", "P"),
    ("triangle-down", "v"),
    ("triangle-right", ">"),
    ("triangle-left", "<"),
)
_DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 3))
# names beyond which colors come from dark to light, as of layers
MOST_NAMES = len(_SHAPES)


class Labels(NamedTuple):
    """What is written on a figure: its title, and the meaning of either axis."""

    title: str
    x: str
    y: str


class Look(NamedTuple):
    """What one name is drawn with.

    Attributes:
        color: hexadecimal.
        shape: Vega's name of the symbol.
        marker: matplotlib's.
        dash: lengths of strokes and gaps.
    """

    color: str
    shape: str
    marker: str
    dash: tuple[int, ...]

    @property
    def linestyle(self) -> Any:
        """The dash as matplotlib takes it."""
        return "-" if self.dash[1] == 0 else (0, self.dash)


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Color, shape and dash of every name; of many names colors from dark to light.

    Example:
        >>> [look.color for look in looks_of(["eNTK", "PCA"]).values()]
        ['#0072B2', '#D55E00']
    """
    if len(names) <= MOST_NAMES:
        colors = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    else:
        colors = [
            to_hex(colormaps["viridis"](0.92 * i / (len(names) - 1))) for i in range(len(names))
        ]
    return {
        name: Look(
            color, *_SHAPES[i % len(_SHAPES)], _DASHES[i % len(_DASHES) if len(names) < 9 else 0]
        )
        for i, (name, color) in enumerate(zip(names, colors, strict=True))
    }


class Encodings(NamedTuple):
    """Channels that tell names apart: pass those that a mark has."""

    color: alt.Color
    shape: alt.Shape
    dash: alt.StrokeDash


def encode_names(field: str, names: Sequence[str], *, columns: int = 3) -> Encodings:
    """Altair's color, shape and dash of a column of names, with one legend above the chart.

    Args:
        field: column of the data.
        names: all its values, in the legend's order.
        columns: of the legend; there is none for a single name.
    """
    looks = list(looks_of(names).values())

    # an explicit list of values, so that a name that a layer lacks does not change the others
    def scale(values: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=list(names), range=list(values))

    legend = (
        alt.Legend(
            orient="top",
            title=None,
            columns=columns,
            labelLimit=220,
            symbolSize=60,
            symbolStrokeWidth=1.5,
            symbolOpacity=1,
        )
        if len(names) > 1
        else None
    )
    kind = f"{field}:N"
    return Encodings(
        alt.Color(kind, scale=scale([look.color for look in looks]), legend=legend),
        alt.Shape(kind, scale=scale([look.shape for look in looks]), legend=legend),
        alt.StrokeDash(kind, scale=scale([list(look.dash) for look in looks]), legend=legend),
    )


def pick_names(field: str = "name", panel: int = 0) -> alt.Parameter:
    """A click on a name in the legend leaves that name and fades the others.

    Args:
        field: column of the names.
        panel: of several charts beside each other, which.
    """
    return alt.selection_point(name=f"picked{panel or ''}", fields=[field], bind="legend")


def inline(frame: pd.DataFrame) -> alt.InlineData:
    """The table as values in the chart itself: no limit of rows, and no global setting of Altair.

    Args:
        frame: the table; what is not finite becomes null.

    Example:
        >>> inline(pd.DataFrame({"x": [1.0, float("nan")]})).values
        [{'x': 1.0}, {'x': None}]
    """
    return alt.InlineData(
        values=[
            {str(key): _plain(value) for key, value in row.items()}
            for row in frame.to_dict("records")
        ]
    )


def quote(text: str) -> str:
    """A text as Vega's expressions read it: a label of the user's is never code.

    Example:
        >>> quote("fox")
        '"fox"'
    """
    return json.dumps(text)


def mark_rules(marks: Mapping[str, float | int], *, middle: float = math.inf) -> list[alt.Chart]:
    """Dotted rules along x with their texts, one below the other: marks may lie close together.

    Args:
        marks: text to the x where it stands.
        middle: of x; a text beyond it stands at the left of its rule.
    """
    if not marks:
        return []
    frame = pd.DataFrame({"mark": list(marks), "at": list(marks.values())})
    frame["line"] = range(len(frame))
    base = alt.Chart(inline(frame)).encode(x="at:Q", tooltip=alt.Tooltip("mark:N"))
    texts = []
    for line, at in enumerate(marks.values()):
        left = at > middle
        text = base.transform_filter(f"datum.line === {line}").mark_text(
            align="right" if left else "left",
            baseline="top",
            dx=-4 if left else 4,
            dy=2 + 13 * line,
            color=GRAY,
        )
        texts.append(text.encode(text="mark:N", y=alt.value(0)))
    return [base.mark_rule(strokeDash=[2, 3], color=GRAY, strokeWidth=1.4), *texts]


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def finish(
    chart: Any,
    *,
    title: str,
    description: str,
    width: Width,
    height: int = 260,
    subtitle: str | Sequence[str] = (),
) -> Any:
    """Title, size and text for screen readers of a single chart or of layers.

    Args:
        chart: to finish.
        title: above it.
        description: what a screen reader says of it.
        width: of the whole, with labels.
        height: of the plot itself, in pixels.
        subtitle: smaller, below the title.
    """
    check_width(width)
    lines = [subtitle] if isinstance(subtitle, str) else list(subtitle)
    lines = [line for line in lines if line]
    heading = alt.Title(
        title, subtitle=lines, anchor="start", frame="group", offset=10, subtitleColor=GRAY
    )
    if not lines:
        heading = alt.Title(title, anchor="start", frame="group", offset=10)
    return chart.properties(
        title=heading,
        description=description,
        width=width,
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )


def check_width(width: Any) -> None:
    """Refuse what is no width of a chart.

    Raises:
        UserError: names the value.
    """
    if width != "container" and not (is_integer(width) and width >= 100):
        raise UserError(f'width = {width!r}: pass 100 pixels or more, or "container".')


def open_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or those of a new figure of so many inches; without a box around.

    Raises:
        UserError: for what are no axes.
    """
    check_kind("ax", ax, (Axes, type(None)), "matplotlib's Axes, as plt.subplots()[1]")
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def write_labels(ax: Axes, labels: Labels) -> None:
    """Labels of the axes; the title is at the left, where that of an Altair chart is."""
    ax.set_title(labels.title, loc="left", fontsize=11)
    ax.set(xlabel=labels.x, ylabel=labels.y)


def add_legend(ax: Axes, names: Sequence[str]) -> None:
    """A legend below the axes, unless there is a single name."""
    if len(names) > 1:
        # half an inch below, however tall the axes are
        below = ScaledTranslation(0, -0.5, ax.figure.dpi_scale_trans)
        ax.legend(
            frameon=False,
            fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=ax.transAxes + below,
            ncols=min(4, len(names)),
        )


def link_rows(
    frame: pd.DataFrame, columns: Sequence[str], links: Mapping[Any, str] | None
) -> pd.DataFrame:
    """The table with a column ``href`` of where a click goes, by the values of some columns.

    Args:
        frame: the table.
        columns: whose values are looked up: the first two together, else one by one.
        links: value, or tuple of values, to address; None leaves the table as it is.

    Raises:
        UserError: for what is no mapping.

    Example:
        >>> frame = pd.DataFrame({"row": ["a"], "column": ["x"]})
        >>> link_rows(frame, ["row", "column"], {("a", "x"): "#here", "a": "#there"}).href[0]
        '#here'
    """
    check_kind("links", links, (Mapping, type(None)), "a mapping to addresses")
    if not links:
        return frame
    rows = frame[list(columns)].itertuples(index=False, name=None)
    return frame.assign(
        href=[next((links[key] for key in (row[:2], *row) if key in links), None) for row in rows]
    )


def encode_links(frame: pd.DataFrame) -> dict[str, Any]:
    """The channels that make marks clickable, if the table says where to."""
    if "href" not in frame:
        return {}
    return {"href": alt.Href("href:N")}
