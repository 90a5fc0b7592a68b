"""Does a direction do anything: the view of steps along directions, and of models without them."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from tl_entk.experiments.language.causal.protocol import DIVERGENCE, NEAR
from tl_entk.experiments.language.causal.result import KERNEL, Causal, CausalDirection
from tl_entk.experiments.language.causal.rivals import RANK
from tl_entk.experiments.language.causal.summary import (
    by_score,
    mean_specificity,
    method_rows,
    raises_high_scores,
    removal_rows,
    statements,
)
from tl_entk.plot import style
from tl_entk.plot.responses import describe_errors, error_curves, response_frame
from tl_entk.report.charts import intervals
from tl_entk.report.parts import Cells, Fold, Part, Picture, Section, Signed, Table, slug

_USED, _NEW = "windows of the kernel", "windows that it has not"
_TEXT = (
    "Kernel, direction, rivals, the labels' tokens and signs of steps are found on the train "
    "half; figures are of the test half, whose windows this kernel has never seen. An "
    "eigendirection v is a direction u = J^T v / sqrt(lambda) of the weights; a step along it "
    "changes what is read of window n by J_n u, to first order: of a plain kernel sqrt(lambda) "
    "v_n, which has either sign. Rivals are the best principal component for the label, a probe, "
    "and the difference of the two means, added to the residual stream of the same layer (beside "
    "a kernel of several layers, of PCA's best) at the last position; random directions; and the "
    "gradient of the label's own log-odds, which knows its tokens. Steps are sized to move the "
    f"next token's distribution on the test half by {DIVERGENCE:g} nats on average, give or take "
    f"{NEAR:.0%}; the table counts those that did not come so near. Specificity: how much the "
    "log-odds of the label's tokens change on average, over the root mean square of the other "
    "labels' changes. It asks for the same push on every window: a step that raises the label on "
    "some and lowers it on others has little. Other labels may share its tokens. Intervals "
    "resample windows and labels, not what was drawn at random, and are as wide as Student's t "
    "asks of so few labels."
)


def causal_section(causal: Causal) -> Section:
    """All labels together, then one figure and one table for every direction.

    Args:
        causal: of a run.
    """
    kernels = dict.fromkeys(one.kernel for one in causal.directions)
    parts: list[Part] = []
    for kernel in kernels:
        directions = [one for one in causal.directions if one.kernel == kernel]
        parts += [_specificity_figure(kernel, directions), _method_table(kernel, directions)]
        parts += [
            Fold(
                f"{kernel}: models without a direction",
                [_removal_table(kernel, directions)],
                "W - (W . u) u for directions of the weights, their mean in the place of what lies "
                "along them for those of activations. Spans: what a weight reads and writes along "
                f"the first {RANK} pairs of u's singular vectors. They take away unlike amounts, "
                "one number of all weights, or one of each state: compare each with what is random "
                "of its kind, not with another. Intervals are over labels, by Student's t.",
            )
        ]
    for one in causal.directions:
        parts.append(_direction_fold(one))
    if causal.left_out:
        parts.append(_left_out_table(causal))
    text = "\n\n".join([*statements(causal), _TEXT])
    return Section(
        "Causal checks", text, parts, question="Does a direction do anything, and only that?"
    )


def _specificity_figure(kernel: str, directions: Sequence[CausalDirection]) -> Picture:
    rows = method_rows(directions)
    ordered = sorted(rows, key=lambda row: -row.specificity.value)
    chart = intervals(
        {row.method: {"specificity": row.specificity} for row in ordered},
        f"{kernel}: how specific a step is",
        "change of the label's log-odds, over the size of the others'",
        "step along",
    )
    caption = (
        f"Mean over {len(directions)} labels. At 0 a step leaves the label where it was on "
        "average, at 1 it moves it as far as the others. Signs are chosen for random directions "
        "too, which are therefore above 0; the label's own gradient knows its tokens."
    )
    return Picture(f"causal_specificity_{slug(kernel)}", caption, chart)


def _method_table(kernel: str, directions: Sequence[CausalDirection]) -> Table:
    rows: list[Cells] = [
        [row.method, row.specificity, Signed(row.less), row.change, row.divergence, row.off]
        for row in method_rows(directions)
    ]
    return Table(
        f"causal_methods_{slug(kernel)}",
        f"Steps along each method's directions, mean over {len(directions)} labels on the test "
        "half.",
        (
            "step along",
            "specificity",
            "kernel's less this",
            "change of the label's log-odds",
            "divergence, nats",
            "steps off it",
        ),
        rows,
    )


def _removal_table(kernel: str, directions: Sequence[CausalDirection]) -> Table:
    found = removal_rows(directions)
    columns = tuple(next(iter(found.values())))
    rows: list[Cells] = [
        [method, *(row[name] for name in columns)] for method, row in found.items()
    ]
    return Table(
        f"causal_removals_{slug(kernel)}",
        "Changes without a direction, mean over the labels.",
        ("without", *columns),
        rows,
    )


def _direction_fold(one: CausalDirection) -> Fold:
    name = f"{one.kernel}, {one.label}"
    about = (
        ", ".join(one.components) if len(one.components) < 4 else f"{len(one.components)} weights"
    )
    correlations = "; ".join(
        f"{where}: {float(found.correlation[0]):.4f}, linear up to {found.linear_until:g}"
        for where, found in ((_USED, one.used), (_NEW, one.new))
    )
    scores = "; ".join(
        f"{group}: {found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
        for group, found in by_score(one).items()
    )
    way = "raises" if raises_high_scores(one) else "lowers"
    return Fold(
        f"{name}: layer {one.layer}, direction {one.direction}",
        [_response_picture(one, name), _effect_table(one, name)],
        f"Of {about}; average precision {one.train_ap:.2f} on the train half. Correlation of "
        f"predicted and measured change at the smallest step: {correlations}. The step {way} what "
        f"is read where the score is high; it changes the label's log-odds on windows of {scores}.",
    )


def _response_picture(one: CausalDirection, name: str) -> Picture:
    frame = response_frame({_USED: one.used, _NEW: one.new})
    title = "Error of the prediction"
    labels = style.Labels(title, "step, of the weights' norm", "relative error")
    curves = error_curves(frame, labels).properties(
        title=alt.Title(title, anchor="start"), width=380, height=200
    )
    chart = alt.hconcat(_scatter(one), curves, spacing=30).resolve_scale(
        color="independent", shape="independent", strokeDash="independent"
    )
    return Picture(
        f"causal_{slug(name)}",
        "Left: predicted and measured change of the readout on windows that the kernel has not, "
        "per unit step, for a small, a larger and the largest step. Right: relative error of the "
        "prediction, by the size of the step; dotted: a tenth.",
        chart.properties(description=describe_errors(frame, title)),
    )


def _scatter(one: CausalDirection) -> alt.Chart:
    """Predicted and measured change per unit step, at three steps."""
    chosen = sorted({0, len(one.steps) // 2, len(one.steps) - 1})
    names = [f"step {float(one.steps[i]):g}" for i in chosen]
    frame = pd.concat(
        [
            pd.DataFrame(
                {
                    "step": name,
                    "predicted": one.new_predicted.double().numpy(),
                    "measured": (one.new_measured[i] / (one.norm * one.steps[i])).double().numpy(),
                }
            )
            for i, name in zip(chosen, names, strict=True)
        ]
    )
    look = style.encode_names("step", names)
    return (
        alt.Chart(style.inline(frame))
        .mark_point(size=22)
        .encode(
            x=alt.X(
                "predicted:Q", title="predicted change, per unit step", axis=alt.Axis(tickCount=6)
            ),
            y=alt.Y("measured:Q", title="measured change, per unit step"),
            color=look.color,
            shape=look.shape,
            tooltip=["step:N", alt.Tooltip("predicted:Q", format=".3g"), "measured:Q"],
        )
        .properties(
            title=alt.Title("Predicted and measured", anchor="start"), width=300, height=200
        )
    )


def _effect_table(one: CausalDirection, name: str) -> Table:
    """What every method's step does to the label, to the others, and where scores are high."""
    rows: list[Cells] = []
    for method, changes in one.changes.items():
        own = float(changes[..., one.label_index].mean())
        groups = by_score(one, method)
        rows.append(
            [
                method,
                mean_specificity(one, method),
                own,
                *(found for found in groups.values()),
                float(one.divergences[method].mean()),
            ]
        )
    return Table(
        f"causal_effects_{slug(name)}",
        f"Steps of equal divergence for {one.label}: mean change of its log-odds on the test half, "
        f"and where the {KERNEL} scores high, near zero and low.",
        ("step along", "specificity", "change", *by_score(one), "divergence, nats"),
        rows,
    )


def _left_out_table(causal: Causal) -> Table:
    return Table(
        "causal_left_out",
        "What was not looked at.",
        ("direction", "because"),
        [list(pair) for pair in causal.left_out.items()],
        text=True,
    )
