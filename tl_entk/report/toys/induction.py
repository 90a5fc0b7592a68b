"""The report on induction heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tl_entk.experiments.induction.analysis import SHARE, InductionResult
from tl_entk.experiments.induction.attributions import (
    FINAL,
    TARGET_LOGIT,
    TRACE,
    share_label,
)
from tl_entk.experiments.induction.comparison import (
    PLAIN_METHODS,
    Leading,
    correlations_over_seeds,
    half_way,
    leading,
    rankings,
    rises,
)
from tl_entk.experiments.induction.head_scores import PREFIX, PREVIOUS
from tl_entk.report import charts
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cell, Cells, Picture, Section, Table
from tl_entk.report.toys.answers import answer_induction
from tl_entk.report.toys.charts import grouped_bars
from tl_entk.report.toys.panels import Line, Panel, line_panels
from tl_entk.report.toys.wording import NONE, join_numbers

Seeds = Mapping[int, InductionResult]
KERNEL, PLAIN, KNOWN = "kernel", "plain baseline", "known score"
# of a panel, above its lines, for the text of a mark
_ROOM = 1.25


def induction_sections(seeds: Seeds) -> list[Section]:
    """Leading heads, rank correlations, the course of the training; the first seed is drawn.

    Args:
        seeds: seed to what was found.
    """
    return [_heads_section(seeds), _correlation_section(seeds), _course_section(seeds)]


def _heads_section(seeds: Seeds) -> Section:
    shown = next(iter(seeds.values()))
    return Section(
        "Induction heads: which heads the repeated token is attributed to",
        "The feature is the indicator of windows that end with a token that stands in them before. "
        "Its share of a head is f^T K f over the same of all heads, K the kernel of the head's "
        "slices of W_Q, W_K, W_V and W_O; the trace share is the same without a feature. With "
        "equal parts every head has "
        f"{1 / shown.known[PREFIX].numel():.3f}. The induction head is the one with the largest "
        "prefix-matching score, the previous-token head the one that attends most to the token "
        "before.",
        [_draw_known(shown), _draw_shares(shown), _leading_table(seeds)],
        question="Is the repeated token attributed to the induction head?",
    )


def _correlation_section(seeds: Seeds) -> Section:
    return Section(
        "Induction heads: rank correlations over heads",
        "Spearman's rank correlation of every attribution with every known score over all heads of "
        "both layers, mean over the seeds with Student's 95 % interval. Prefix matching is high "
        "in the second layer alone, the attention to the token before in the first: either is "
        "mostly a ranking of layers.\n\n"
        "Known scores: attention to what follows an earlier occurrence of the last token (prefix "
        "matching), to the token before (previous token), eigenvalues of W_E W_V W_O W_U "
        "(copying), rise of the loss of repeated tokens when the head gives its mean output "
        "(ablation), and attribution patching from a pair's other window. Baselines: the trace "
        "of the kernel; the gradient of the loss of windows that repeat; of the head's output z "
        "a probe's R², the best of ten principal components, and how far its mean moves the "
        "residual stream; and the number of the head's layer, which is what a ranking of layers "
        "reaches. The gradient of the loss weighted by the feature is the share with "
        "target_logprob itself. Intervals are not corrected for their number.",
        [_draw_correlations(seeds), _correlation_table(seeds)],
        question="Do the kernel's shares rank the heads as their known scores do?",
    )


def _course_section(seeds: Seeds) -> Section:
    return Section(
        "Induction heads: through training",
        "A series is half way at the first kept step from which on it is past the middle of its "
        "first and last value, read through a running median of three records. A series that goes "
        "back and forth has no such step. Shares are of the kernel with the readout "
        f"{TARGET_LOGIT}.",
        [_draw_course(seeds), _course_table(seeds)],
        question="Does the share move before the loss drops?",
    )


def _heads(result: InductionResult) -> list[tuple[str, int]]:
    """Names of the heads and their places in flattened scores."""
    layers, heads = result.known[PREFIX].shape
    return [(f"head {i // heads}.{i % heads}", i) for i in range(layers * heads)]


def _draw_known(result: InductionResult) -> Picture:
    values = {
        name: {score: float(result.known[score].flatten()[i]) for score in (PREFIX, PREVIOUS)}
        for name, i in _heads(result)
    }
    chart = grouped_bars(values, "What the heads attend to", "attention")
    caption = (
        "First seed: attention to what follows an earlier occurrence of the last token, and to the "
        "token before, of every head (layer.head)."
    )
    return Picture("induction_known", caption, chart)


def _draw_shares(result: InductionResult) -> Picture:
    methods = {
        f"share, {TARGET_LOGIT}": result.attributions[share_label(TARGET_LOGIT)],
        f"share, {FINAL}": result.attributions[share_label(FINAL)],
        f"trace share, {TARGET_LOGIT}": result.attributions[TRACE],
    }
    values = {
        name: {method: float(found.flatten()[i]) for method, found in methods.items()}
        for name, i in _heads(result)
    }
    highest = 1.05 * max(float(found.max()) for found in methods.values())
    chart = grouped_bars(values, "What the kernel attributes to them", "share", highest=highest)
    caption = (
        "First seed: shares of the repeated token in the heads' kernels with two readouts, beside "
        "the heads' shares of the trace. Bars that are as long as the trace's say nothing of the "
        "feature."
    )
    return Picture("induction_shares", caption, chart)


def _leading_table(seeds: Seeds) -> Table:
    rows: list[Cells] = []
    for seed, result in seeds.items():
        row: Cells = [seed, result.losses["repeated"][-1]]
        for score in (PREFIX, PREVIOUS):
            row += _leading_cells(leading(result, score))
        rows.append(row)
    heads = [
        f"{name}{what}"
        for name in ("induction head", "previous-token head")
        for what in ("", ": attention", ": share", ": its rank", ": trace share")
    ]
    return Table(
        "induction_leading_heads",
        f"Final share of the leading heads in the kernel with {TARGET_LOGIT}, and its rank among "
        "all heads, 1 the largest.",
        ("seed", "loss, repeated", *heads),
        rows,
    )


def _leading_cells(found: Leading) -> list[Cell]:
    return [str(found.head), found.score, found.share, found.rank, found.trace]


def _kinds(result: InductionResult) -> dict[str, str]:
    """Methods in the order of the rows, with what they are."""
    kinds = {name: PLAIN if name in PLAIN_METHODS else KERNEL for name in rankings(result)}
    return kinds | dict.fromkeys(result.known, KNOWN)


def _draw_correlations(seeds: Seeds) -> Picture:
    known = next(iter(seeds.values())).known
    found = correlations_over_seeds(seeds)
    chart = charts.intervals(
        {method: row for method, row in found.items() if method not in known},
        "Attributions beside known scores of the heads",
        "rank correlation over heads",
        "method",
    )
    caption = (
        "A dot is the mean over the seeds, its line the interval. Kernels come first, plain "
        "baselines from the trace on. Attributions that find a score's heads are to the right."
    )
    return Picture("induction_correlations", caption, chart)


def _correlation_table(seeds: Seeds) -> Table:
    scores = list(next(iter(seeds.values())).known)
    kinds = _kinds(next(iter(seeds.values())))
    rows: list[Cells] = []
    for method, found in correlations_over_seeds(seeds).items():
        row: Cells = [method, kinds[method]]
        for score in scores:
            one = found.get(score)
            row.append(one if one is None or len(seeds) > 1 else one.value)
        rows.append(row)
    return Table(
        "induction_rank_correlations",
        "Spearman's correlation over heads, mean over the seeds with its 95 % interval.",
        ("method", "kind", *scores),
        rows,
    )


def _draw_course(seeds: Seeds) -> Picture:
    result, *others = seeds.values()
    steps, series = result.steps, {name: v.numpy() for name, v in rises(result).items()}
    when = half_way(steps, torch.tensor(result.losses["repeated"]))
    marks = {} if when is None else {"loss half way": when}
    layers, heads = result.known[PREFIX].shape
    rest = [
        Line(steps, result.course[SHARE][:, layer, head].numpy())
        for layer in range(layers)
        for head in range(heads)
        if (layer, head) not in (result.leading_head(PREFIX), result.leading_head(PREVIOUS))
    ]

    def lines(*names: str) -> dict[str, Line]:
        return {name: Line(steps, series[name]) for name in names}

    panels = {
        "Loss": Panel(
            {
                "where tokens repeat": Line(steps, result.losses["repeated"]),
                "elsewhere": Line(steps, result.losses["new"]),
            },
            "step", "cross-entropy", limits=(0, _ROOM * max(result.losses["new"])), marks=marks,
            faint=[Line(one.steps, one.losses["repeated"]) for one in others],
        ),
        "What the leading heads attend to": Panel(
            lines("prefix matching, induction head", "attention, previous-token head"),
            "step", "attention", limits=(0, _ROOM), marks=marks,
        ),
        "Share of the repeated token in their kernels": Panel(
            lines("share, induction head", "share, previous-token head",
                  "trace share, induction head", "trace share, previous-token head"),
            "step", "share", limits=(0, _ROOM * float(result.course[SHARE].max())), marks=marks,
            faint=rest,
        ),
    }  # fmt: skip
    caption = (
        "First seed. Gray: the loss of other seeds where tokens repeat, and the shares of the "
        "other heads. The dotted line is where the loss is half way."
    )
    return Picture("induction_course", caption, line_panels(panels, "Through training"))


def _course_table(seeds: Seeds) -> Table:
    rows: list[Cells] = []
    for seed, result in seeds.items():
        series = rises(result)
        drop = half_way(result.steps, series["loss"])
        for name, values in series.items():
            step = half_way(result.steps, values)
            later: Cell = NONE if step is None or drop is None else step - drop
            ends = (float(values[0]), float(values[-1]))
            rows.append([name, seed, *ends, NONE if step is None else step, later])
    return Table(
        "induction_half_way",
        "First and last value of every series, the step at which it is half way, and how many "
        "steps after the loss that is; before it, where negative.",
        ("series", "seed", "at step 0", "at the end", "half way at step", "after the loss"),
        sorted(rows, key=lambda row: list(series).index(str(row[0]))),
    )


def write_induction(seeds: Seeds, out: Path) -> Path:
    """The report of ``tl-entk induction-heads``.

    Args:
        seeds: seed to what was found.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    shown = next(iter(seeds.values()))
    induction, previous = leading(shown, PREFIX), leading(shown, PREVIOUS)
    figures = [
        ("loss where tokens repeat", f"{shown.losses['repeated'][-1]:.3f}"),
        (f"induction head {induction.head}: prefix matching", f"{induction.score:.2f}"),
        (f"induction head {induction.head}: share", f"{induction.share:.3f}"),
        (f"previous-token head {previous.head}: share", f"{previous.share:.3f}"),
    ]
    return write_report(
        out,
        "Induction heads: is the repeated token attributed to them?",
        "A 2-layer attention-only Transformer trained on repeated random tokens. Seeds "
        f"{join_numbers(seeds)}; the first is drawn.",
        figures,
        induction_sections(seeds),
        answer=answer_induction(seeds),
    )
