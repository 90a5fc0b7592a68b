"""What a run of a toy setting says, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_entk.dynamics.course import Course
from tl_entk.experiments.board_game.verdict import (
    BEST_KERNEL,
    BEST_MOVES,
    BEST_STATES,
    BoardSeeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.experiments.induction.analysis import InductionResult
from tl_entk.experiments.induction.comparison import half_way, leading, rises
from tl_entk.experiments.induction.head_scores import PREFIX
from tl_entk.experiments.modular_mlp.analysis import FULL_SECOND, SUM, MLPResult
from tl_entk.experiments.modular_transformer.analysis import PCA_ROW, UNEMBED, ModularResult
from tl_entk.experiments.paper import PaperResult
from tl_entk.experiments.structured_superposition.analysis import TRAINED, UNTRAINED
from tl_entk.experiments.structured_superposition.methods import (
    BASELINES,
    ENTK,
    ENTK_ICA,
    METHODS,
    OUTPUTS,
)
from tl_entk.experiments.structured_superposition.over_seeds import (
    StructureSeeds,
    count_largest_drops,
    overall_cosine,
)
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


def answer_structures(found: StructureSeeds) -> str:
    """What the largest drop counts, and how the kernel does beside baselines."""
    models = sum(map(len, found.values()))
    trained, before = (count_largest_drops(found, name) for name in (TRAINED, UNTRAINED))
    overall = {name: overall_cosine(found, name, "scores").value for name in METHODS}
    strongest = max((name for name in BASELINES if name != OUTPUTS), key=overall.__getitem__)
    return (
        f"the largest drop of the kernel's spectrum is right after the number of outputs in "
        f"{trained} of {models} models, and in {before} before training; mean best |correlation| "
        f"with the true features: {ENTK} {overall[ENTK]:.2f}, rotated by ICA "
        f"{overall[ENTK_ICA]:.2f}, {strongest} {overall[strongest]:.2f}, {OUTPUTS} "
        f"{overall[OUTPUTS]:.2f}."
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


def answer_board_game(seeds: BoardSeeds) -> str:
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


def answer_induction(found: Mapping[int, InductionResult]) -> str:
    """Whether the induction head has the largest share, and whether that moves before the loss."""
    heads = [leading(result, PREFIX) for result in found.values()]
    first = sum(head.rank == 1 for head in heads)
    above = sum(head.share > head.trace for head in heads)
    # by whether it rises: does the share's way come before the loss's?
    ahead: dict[bool, list[bool]] = {True: [], False: []}
    for result in found.values():
        series = rises(result)
        share = series["share, induction head"]
        steps = (half_way(result.steps, values) for values in (share, series["loss"]))
        ahead[bool(share[-1] > share[0])].append(_is_before(*steps))
    up, down = ahead[True], ahead[False]
    return (
        f"the induction head has the largest share of the repeated token in {first} of "
        f"{len(heads)} models, and more than its share of the trace in {above}; through training "
        f"its share rises in {len(up)}, in {sum(up)} of them ahead of the loss, and falls in "
        f"{len(down)}, in {sum(down)} ahead of it."
    )


def _is_before(first: int | None, second: int | None) -> bool:
    return first is not None and second is not None and first < second
