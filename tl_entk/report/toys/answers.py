"""What a run of a toy setting says, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_entk.dynamics.course import Course
from tl_entk.experiments.board_game.verdict import (
    BEST_KERNEL,
    BEST_MOVES,
    BEST_STATES,
    Seeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.experiments.modular_mlp.analysis import FULL_SECOND, SUM, MLPResult
from tl_entk.experiments.modular_transformer.analysis import PCA_ROW, UNEMBED, ModularResult
from tl_entk.experiments.paper import PaperResult
from tl_entk.experiments.superposition.analysis import SuperpositionResult
from tl_entk.report.toys.dynamics import timing
from tl_entk.report.toys.mlp_cliffs import overlap_bound
from tl_entk.report.toys.paper_table import paper_table


def answer_transformer(result: ModularResult) -> str:
    """Whether the kernel has the model's features, beside PCA."""
    first = {row.component: row.first["a+b"] for row in result.overlaps}
    most = 2 * result.n_frequencies
    same = set(result.weight_frequencies) == set(result.kernel_frequencies)
    return (
        f"the kernel's key frequencies {result.kernel_frequencies} are "
        f"{'those' if same else 'not those'} of the embedding {result.weight_frequencies}; the "
        f"leading eigendirections of {UNEMBED} hold {first[UNEMBED]:.2f} of the {most} dimensions "
        f"of a + b, as many principal components {first[PCA_ROW]:.2f}."
    )


def answer_superposition(found: Mapping[int, Sequence[SuperpositionResult]]) -> str:
    """Whether the spectrum drops where the features end."""
    regimes = [result for results in found.values() for result in results]
    at_features = sum(
        cliff is not None and cliff.position == len(result.products)
        for result in regimes
        for cliff in [result.cliff()]
    )
    n = len(regimes[0].products)
    return (
        f"the spectrum of the flattened kernel drops right after mode {n}, the number of features, "
        f"in {at_features} of {len(regimes)} toy models."
    )


def answer_mlp(found: Mapping[int, tuple[MLPResult, Course]]) -> str:
    """What the second cliff holds of the sum, and when it does beside grokking."""
    result, course = next(iter(found.values()))
    when = timing(course, SUM)
    held = f"{result.overlaps[FULL_SECOND]['a+b']:.2f} of {overlap_bound(result)}"
    said = f"the directions of the second cliff hold {held} dimensions of a + b"
    if when.peak is None or when.onset is None:
        return f"{said}; this training does not grok."
    return f"{said}; they come most at epoch {when.peak}, grokking begins at {when.onset}."


def answer_board_game(seeds: Seeds) -> str:
    """How well the best directions tell the state of a square, beside what needs no kernel."""
    of = figures_of_roles()
    reached = {
        name: figure_over_seeds(seeds, of[name], None).value
        for name in (BEST_KERNEL, BEST_STATES, BEST_MOVES)
    }
    said = ", ".join(f"{name} {value:.2f}" for name, value in reached.items())
    return (
        "one direction for each square, chosen on other windows, tells its state with a mean AUROC "
        f"(chance 0.50) of: {said}; {len(seeds)} seed{'s' * (len(seeds) > 1)}."
    )


def answer_paper(result: PaperResult) -> str:
    """How much there is to compare."""
    return (
        f"{len(paper_table(result).rows)} figures of the paper stand beside ours, above and in the "
        "report."
    )
