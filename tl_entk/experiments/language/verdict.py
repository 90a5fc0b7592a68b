"""What beats PCA and what does not, in words, from paired differences and their intervals."""

from __future__ import annotations

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.experiments.language.judging import FLATTENED, PCA, RANDOM
from tl_entk.experiments.language.run import LanguageResult

# readouts that know what the model predicts
_PREDICTING = {"target_logit", "target_logprob", "logsumexp"}
# what verdicts and figures are about
METRIC_NAMES = {"ap": "average precision", "auroc": "AUROC"}


def verdicts(result: LanguageResult) -> list[str]:
    """Sentences on the flattened kernel and on the best readouts, each with its figures.

    A method is said to beat PCA only where the whole 95 % interval of the paired difference of
    macro averages is above zero.
    """
    pca = result.judged.tables[PCA]
    found = []
    for name in result.judged.entk_methods:
        table = result.judged.tables[name]
        parts = [
            compare_with_pca(
                metric, table.difference(pca, metric), table.macro(metric), pca.macro(metric)
            )
            for metric in METRIC_NAMES
        ]
        chosen = " (chosen within the train half)" if name != FLATTENED else ""
        found.append(f"{name}{chosen}: {'; '.join(parts)}.")
    found.append(
        f"The intervals are over test windows, given the directions chosen; {len(found)} methods "
        "are set against PCA here, each at 95 %, with no correction for their number."
    )
    if result.settings.agree and _PREDICTING.intersection(result.settings.readouts):
        found.append(
            "Windows are kept only where the model's own next word has the label's tag. "
            "target_logit and target_logprob are read at the model's own top token, and logsumexp "
            "mostly so: their kernels compare predictions. A lead over PCA in tags says that they "
            "sort windows by the word predicted, not that there is more to find in the network."
        )
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
    random = result.judged.tables[RANDOM].difference(pca)
    if random.high >= 0:
        found.append(
            "Random directions do not stay clearly below PCA: there are too few windows, or too "
            "many directions to choose from, to tell methods apart."
        )
    return found


def _unconverged(result: LanguageResult) -> list[str]:
    """Kernels of the judged methods with eigenpairs that have not converged."""
    return [
        f"{int((~eigen.converged).sum())} directions of {name}, layer {layer}"
        for name in result.judged.entk_methods
        for layer, eigen in result.eigen(name).items()
        if not bool(eigen.converged.all())
    ]


def compare_with_pca(
    metric: str, difference: IntervalEstimate, own: IntervalEstimate, pca: IntervalEstimate
) -> str:
    """One figure of a method beside PCA's, in words.

    Example:
        >>> own, pca = IntervalEstimate(0.6, 0.5, 0.7), IntervalEstimate(0.5, 0.4, 0.6)
        >>> compare_with_pca("ap", IntervalEstimate(0.1, 0.01, 0.2), own, pca)[:38]
        'by macro average precision it beats PC'
    """
    if difference.low > 0:
        verdict = "beats PCA"
    elif difference.high < 0:
        verdict = "is below PCA"
    else:
        verdict = "cannot be told from PCA"
    return (
        f"by macro {METRIC_NAMES[metric]} it {verdict} ({own.value:.2f} against {pca.value:.2f}, "
        f"difference {difference.value:+.2f}, {difference.low:+.2f} to {difference.high:+.2f})"
    )
