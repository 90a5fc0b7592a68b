"""Tables of the board game: methods, differences, controls, probes, over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.names import PCA
from tl_entk.experiments.board_game.analysis import BoardGameResult
from tl_entk.experiments.board_game.settings import AUROC, FAMILIES, OF_NO_LAYER
from tl_entk.experiments.board_game.verdict import (
    BEST_KERNEL,
    BEST_MOVES,
    BEST_STATES,
    Boards,
    BoardSeeds,
    FiguresOf,
    Roles,
    choose_roles,
    difference_over_seeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.experiments.seeds import mean_over_seeds
from tl_entk.report.parts import Cell, Cells, Signed, Table

_COLUMNS = (*FAMILIES, "mean")
# the families, and all of them together
_EACH = (*FAMILIES, None)


def seed_cell(found: IntervalEstimate) -> Cell:
    """A figure over seeds; without its interval where there is one seed, empty without any."""
    if not np.isfinite(found.value):
        return None
    return found if np.isfinite(found.low) else found.value


def method_table(seeds: BoardSeeds, metric: str) -> Table:
    """Every method by family.

    Args:
        seeds: seed to result.
        metric: "auroc", or "ap".
    """
    above = "AUROC (chance 0.5)" if metric == AUROC else "average precision less the base rate"
    names = next(iter(seeds.values())).trained
    rows: list[Cells] = [[name, *_family_cells(seeds, _figures_of(name), metric)] for name in names]
    return Table(
        f"board_{metric}",
        f"Best direction of every method, {above}: mean over the squares of a family, over seeds.",
        ("method", *_COLUMNS),
        rows,
    )


def _figures_of(name: str) -> FiguresOf:
    return lambda seed: seed.trained[name]


def _family_cells(seeds: BoardSeeds, of: FiguresOf, metric: str = AUROC) -> list[Cell]:
    return [seed_cell(figure_over_seeds(seeds, of, family, metric)) for family in _EACH]


def difference_table(seeds: BoardSeeds) -> Table:
    """The best kernel less what costs no gradient, paired by seed."""
    of = figures_of_roles()
    rows: list[Cells] = []
    for other in (BEST_STATES, PCA, BEST_MOVES):
        found = [
            difference_over_seeds(seeds, of[BEST_KERNEL], of[other], family) for family in _EACH
        ]
        cells = [Signed(one) if np.isfinite(one.low) else seed_cell(one) for one in found]
        rows.append([f"{BEST_KERNEL} less {other}", *cells])
    return Table(
        "board_differences",
        "AUROC of the best kernel less that of others, paired by seed.",
        ("difference", *_COLUMNS),
        rows,
    )


def chosen_table(seeds: BoardSeeds) -> Table:
    """What stands for its kind in every seed."""
    rows: list[Cells] = [
        [number, *choose_roles(seed.validations), next(iter(seed.candidates))]
        for number, seed in seeds.items()
    ]
    return Table(
        "board_chosen",
        "What stood for its kind in every seed, by average precision within the train half.",
        ("seed", BEST_KERNEL, BEST_STATES, BEST_MOVES, "best kernel of one backward pass"),
        rows,
        text=True,
    )


def candidate_table(seeds: BoardSeeds) -> Table:
    """Every kernel of one backward pass."""
    first = Counter(next(iter(seed.candidates)) for seed in seeds.values())
    rows: list[Cells] = [
        [
            name,
            seed_cell(mean_over_seeds(seed.candidates[name] for seed in seeds.values())),
            first[name],
        ]
        for name in next(iter(seeds.values())).candidates
    ]
    return Table(
        "board_candidates",
        "Kernels of one backward pass (readout, weights, normalization): average precision within "
        "the train half, and in how many seeds each was chosen.",
        ("kernel", "average precision", "chosen"),
        rows,
    )


def control_table(seeds: BoardSeeds) -> Table:
    """The roles under every control."""

    def role(
        condition: Callable[[BoardGameResult], dict[str, Boards]],
        chosen: Callable[[BoardGameResult], Roles],
        place: int,
    ) -> FiguresOf:
        # a control that a seed has no features for is empty there
        return lambda seed: condition(seed).get(chosen(seed)[place])

    def after(seed: BoardGameResult) -> Roles:
        return choose_roles(seed.validations)

    def before(seed: BoardGameResult) -> Roles:
        return choose_roles(seed.untrained_validations)

    conditions = {
        "trained model": (lambda seed: seed.trained, after),
        "model before training": (lambda seed: seed.untrained, before),
        "boards dealt anew": (lambda seed: seed.dealt, after),
        "within a predicted move": (lambda seed: seed.within, after),
    }
    rows: list[Cells] = [
        [name, kind, *_family_cells(seeds, role(condition, chosen, place))]
        for name, (condition, chosen) in conditions.items()
        for place, kind in enumerate((BEST_KERNEL, BEST_STATES, BEST_MOVES))
    ]
    return Table(
        "board_controls",
        "AUROC of the best directions under every control, over seeds; empty where no feature "
        "varies enough.",
        ("condition", "method", *_COLUMNS),
        rows,
    )


def probe_table(seeds: BoardSeeds, *, trained: bool) -> Table:
    """Probes of every basis, layer by layer.

    Args:
        seeds: seed to result.
        trained: of the trained model, or of the one before training.
    """

    def probes(seed: BoardGameResult) -> dict[str, Float[Tensor, "layers metrics families s"]]:
        return seed.probes if trained else seed.untrained_probes

    def figures(name: str, layer: int) -> FiguresOf:
        return lambda seed: probes(seed)[name][layer]

    by_layer = [
        (name, layer)
        for name, found in probes(next(iter(seeds.values()))).items()
        for layer in range(1 if name in OF_NO_LAYER else len(found))
    ]
    rows: list[Cells] = [
        [
            name,
            "" if name in OF_NO_LAYER else layer,
            *_family_cells(seeds, figures(name, layer)),
        ]
        for name, layer in by_layer
    ]
    return Table(
        f"board_probes_{'trained' if trained else 'untrained'}",
        f"Linear probes, AUROC over seeds: {'trained model' if trained else 'before training'}.",
        ("probed from", "layer", *_COLUMNS),
        rows,
    )
