"""What beats the baselines and what does not, in words, from paired differences."""

from __future__ import annotations

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.model_baselines import BASELINES, PCA, RANDOM
from tl_entk.experiments.language.judging import BY_DEFAULT, FLATTENED
from tl_entk.experiments.language.run import LanguageResult

# readouts that know what the model predicts
_PREDICTING = {"target_logit", "target_logprob", "target_margin", "top_logits", "logsumexp"}
# what verdicts and figures are about
METRIC_NAMES = {"ap": "average precision", "auroc": "AUROC"}


def answer(result: LanguageResult) -> str:
    """The answer in a sentence: the best kernel beside the strongest baseline and random ones."""
    judged = result.judged
    tables, winner, strongest = judged.tables, judged.winner, judged.strongest_baseline
    kernel, baseline = tables[winner].macro(), tables[strongest].macro()
    difference = tables[winner].difference(tables[strongest])
    if difference.low > 0:
        verdict = "the kernel is ahead"
    elif difference.high < 0:
        verdict = "the kernel is behind"
    else:
        verdict = "the two cannot be told apart"
    return (
        f"Over {len(result.data.features)} labels, the best single direction of the best kernel "
        f"({winner}) reaches average precision {kernel.value:.2f}, of the strongest baseline "
        f"({strongest}) {baseline.value:.2f}, of random directions "
        f"{tables[RANDOM].macro().value:.2f}: {verdict} ({difference.value:+.2f}, 95 % interval "
        f"{difference.low:+.2f} to {difference.high:+.2f})."
    )


def verdicts(result: LanguageResult) -> list[str]:
    """Sentences on the flattened kernel and on the best readouts, and what speaks against them."""
    return [*_introductions(result), *comparisons(result), *caveats(result)]


def comparisons(result: LanguageResult) -> list[str]:
    """A sentence for every kernel, with its figures beside the baselines'.

    A method is said to beat another only where the whole 95 % interval of the paired difference
    of macro averages is above zero.
    """
    judged = result.judged
    strongest = judged.strongest_baseline
    found = []
    others = list(dict.fromkeys([strongest, PCA]))
    for name in judged.entk_methods:
        table = judged.tables[name]
        parts = [
            compare_with(
                other,
                metric,
                table.difference(judged.tables[other], metric),
                table.macro(metric),
                judged.tables[other].macro(metric),
            )
            for other in others
            for metric in METRIC_NAMES
        ]
        chosen = "" if name in (FLATTENED, BY_DEFAULT) else " (chosen within the train half)"
        found.append(f"{name}{chosen}: {'; '.join(parts)}.")
    return found


def remarks(result: LanguageResult) -> list[str]:
    """What the methods are, and what speaks against their figures: verdicts but comparisons."""
    return [*_introductions(result), *caveats(result)]


def caveats(result: LanguageResult) -> list[str]:
    """What speaks against the figures."""
    judged = result.judged
    others = list(dict.fromkeys([judged.strongest_baseline, PCA]))
    found = [
        "The intervals are over test windows, given the directions chosen; "
        f"{len(judged.entk_methods)} methods are set against {' and '.join(others)} here, each at "
        "95 %, with no correction for their number.",
        *_under_controls(result),
    ]
    if result.settings.agree and _PREDICTING.intersection(result.settings.readouts):
        found.append(
            "Windows are kept only where the model's own next word has the label's tag. "
            "The target readouts and top_logits are read at the model's own top tokens, and "
            "logsumexp mostly so: their kernels compare predictions. A lead over PCA in tags says "
            "that they sort windows by the word predicted, unless it is there over the predicted "
            "token's unembedding too, and within one predicted token."
        )
    if not result.settings.exact and result.directions.flattened:
        found.append(_compressed(result))
    open_pairs = _unconverged(result)
    if open_pairs:
        found.append(
            f"Not converged: {', '.join(open_pairs)}. Their directions may be others; raise --tol "
            "or compute them with more products."
        )
    windows, stories = len(result.data.windows), len(result.data.windows.stories)
    if stories < windows:
        found.append(
            f"The {windows} windows come from {stories} texts, and windows of one text lie in "
            "both halves: figures are too high and intervals too narrow. Pass --per-story 1."
        )
    random = judged.tables[RANDOM].difference(judged.tables[PCA])
    if random.high >= 0:
        found.append(
            "Random directions do not stay clearly below PCA: there are too few windows, or too "
            "many directions to choose from, to tell methods apart."
        )
    return found


def _introductions(result: LanguageResult) -> list[str]:
    """What the strongest baseline and the default kernel are."""
    judged = result.judged
    strongest = judged.strongest_baseline
    found = [
        f"The strongest baseline within the train half is {strongest}"
        + (f" ({BASELINES[strongest]})." if strongest in BASELINES else ".")
    ]
    if BY_DEFAULT in judged.tables:
        own, other = judged.tables[BY_DEFAULT].k, judged.tables[strongest].k
        found.append(
            f"{BY_DEFAULT} is the kernel of tl_entk.default_directions: logsumexp, W_out of the "
            "later half of the layers, by cosines, added. It was fixed before this run, by labels "
            "of Gemma-3-270M and the embedded story model: on those it is not held out. It has "
            f"{own} directions to choose from, {strongest} {other}."
        )
    return found


def _under_controls(result: LanguageResult) -> list[str]:
    """The best kernel beside the strongest baseline of every control, both of its train half."""
    found = []
    for name, control in result.judged.controls.items():
        winner, strongest = control.winner, control.strongest_baseline
        own, other = control.tables[winner], control.tables[strongest]
        said = compare_with(strongest, "ap", own.difference(other), own.macro(), other.macro())
        found.append(f"Under the control {name!r}, {winner}: {said}.")
    missing = [name for name in result.settings.controls if name not in result.judged.controls]
    if missing:
        found.append(
            f"No label is left for the control {' or '.join(map(repr, missing))}: there are too "
            "few windows."
        )
    return found


def _compressed(result: LanguageResult) -> str:
    """How far the compressed kernels are from the whole ones."""
    layers = result.directions.flattened
    worst = max(layers, key=lambda layer: float(layers[layer].residuals.max()))
    largest = float(layers[worst].residuals.max())
    return (
        f"{FLATTENED} is compressed to {result.settings.outputs} directions of the logits: "
        f"residuals of its eigenpairs are up to {largest:.2g} of the first eigenvalue (layer "
        f"{worst}). Eigenvalues lie below the whole kernel's. --exact solves that, at many times "
        "the cost."
    )


def _unconverged(result: LanguageResult) -> list[str]:
    """Kernels of the judged methods with eigenpairs that have not converged."""
    return [
        f"{int((~eigen.converged).sum())} directions of {name}, layer {layer}"
        for name in result.judged.entk_methods
        for layer, eigen in result.eigen(name).items()
        if not ("outputs" in eigen.provenance or bool(eigen.converged.all()))
    ]


def compare_with(
    name: str,
    metric: str,
    difference: IntervalEstimate,
    own: IntervalEstimate,
    other: IntervalEstimate,
) -> str:
    """One figure of a method beside that of another called ``name``, in words.

    Example:
        >>> own, pca = IntervalEstimate(0.6, 0.5, 0.7), IntervalEstimate(0.5, 0.4, 0.6)
        >>> compare_with("PCA", "ap", IntervalEstimate(0.1, 0.01, 0.2), own, pca)[:38]
        'by macro average precision it beats PC'
    """
    if difference.low > 0:
        verdict = f"beats {name}"
    elif difference.high < 0:
        verdict = f"is below {name}"
    else:
        verdict = f"cannot be told from {name}"
    return (
        f"by macro {METRIC_NAMES[metric]} it {verdict} ({own.value:.2f} against {other.value:.2f}, "
        f"difference {difference.value:+.2f}, {difference.low:+.2f} to {difference.high:+.2f})"
    )
