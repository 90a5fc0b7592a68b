"""What beats PCA and what does not, in words, from paired differences and their intervals."""

from __future__ import annotations

from tl_entk.experiments.language import FLATTENED, PCA, RANDOM, LanguageResult
from tl_entk.judgement import Judgement

_NAMES = {"ap": "average precision", "auroc": "AUROC"}


def verdicts(result: LanguageResult) -> list[str]:
    """Sentences on the flattened kernel and on the best readouts, each with its figures.

    A method is said to beat PCA only where the whole 95 % interval of the paired difference of
    macro averages is above zero.
    """
    pca = result.tables[PCA]
    found = []
    for name in result.entk_methods:
        table = result.tables[name]
        parts = [
            _said(metric, table.difference(pca, metric), table.macro(metric), pca.macro(metric))
            for metric in _NAMES
        ]
        chosen = " (chosen within the train half)" if name != FLATTENED else ""
        found.append(f"{name}{chosen}: {'; '.join(parts)}.")
    random = result.tables[RANDOM].difference(pca)
    if random.high >= 0:
        found.append(
            "Random directions do not stay clearly below PCA: there are too few windows, or too "
            "many directions to choose from, to tell methods apart."
        )
    return found


def _said(metric: str, difference: Judgement, own: Judgement, pca: Judgement) -> str:
    if difference.low > 0:
        verdict = "beats PCA"
    elif difference.high < 0:
        verdict = "is below PCA"
    else:
        verdict = "cannot be told from PCA"
    return (
        f"by macro {_NAMES[metric]} it {verdict} ({own.value:.2f} against {pca.value:.2f}, "
        f"difference {difference.value:+.2f}, {difference.low:+.2f} to {difference.high:+.2f})"
    )
