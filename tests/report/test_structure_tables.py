"""Tables on superposition with structure: drops, known numbers and leads of results by hand."""

import pytest
import torch

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.experiments.structured_superposition.analysis import (
    OUTPUTS as OUTPUT_SPECTRUM,
)
from tl_entk.experiments.structured_superposition.analysis import (
    TRAINED,
    UNTRAINED,
    StructureResult,
)
from tl_entk.experiments.structured_superposition.methods import (
    ENTK,
    ENTK_ICA,
    METHODS,
    OUTPUT_ICA,
    OUTPUTS,
    SAE,
    SAE_BOUND,
)
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.report.parts import Signed
from tl_entk.report.toys.structure_tables import (
    cosine_table,
    drop_table,
    kind_table,
    known_number_table,
    lead_table,
    model_table,
)

pytestmark = pytest.mark.plain

N, PARENTS = 10, [0, 5]


def spectrum(*drops):
    """Eigenvalues that fall by a factor after some modes, and hardly elsewhere."""
    values = torch.tensor([1.001**-i for i in range(14)], dtype=torch.float64)
    for position, ratio in drops:
        values[position:] /= ratio
    return values


def result_of(kernel, seed, levels, *, converged=True):
    """Two families of a parent and four children; every method has one cosine all over."""
    settings = StructureSettings(
        m=3, features=N, examples=60, sparsity=0.7, structure="hierarchical", seed=seed
    )
    cosines = {name: torch.full((4, N), levels.get(name, 0.1)).double() for name in METHODS}
    cosines[SAE][:, PARENTS] += 0.2
    spectra = {TRAINED: kernel, UNTRAINED: spectrum((N, 3.0)), OUTPUT_SPECTRUM: spectrum()[:N]}
    numbers = {"penalty": 0.1, "explained": 0.9, "active": 4.5, "dead": 2.0}
    return StructureResult(
        settings.as_dict(), [0.5, 0.25], torch.ones(N), spectra, cosines, cosines, cosines,
        {ENTK_ICA: converged, OUTPUT_ICA: True}, numbers, {},
    )  # fmt: skip


# the largest drop is after 10 in all; the second after 2 in two of three
SEEDS = {
    0: [result_of(spectrum((N, 2.0), (2, 1.5)), 0, {ENTK: 0.5, OUTPUTS: 0.9, OUTPUT_ICA: 0.6})],
    3: [result_of(spectrum((N, 4.0), (2, 1.7)), 3, {ENTK: 0.6, OUTPUTS: 0.9, OUTPUT_ICA: 0.6})],
    4: [
        result_of(
            spectrum((N, 3.0), (5, 1.5)), 4, {ENTK: 0.7, OUTPUTS: 0.9, SAE_BOUND: 1.0},
            converged=False,
        )
    ],
}  # fmt: skip


def rows_of(table, *columns):
    """Rows by the cells of their first columns."""
    return {tuple(row[: len(columns)]): row[len(columns) :] for row in table.rows}


def test_drops_are_told_by_where_they_are_in_how_many_seeds():
    rows = rows_of(drop_table(SEEDS), "structure", "spectrum")
    first, second, _ = rows["hierarchical", TRAINED]
    assert first == "10 (3.00x)"
    assert second == "2 (1.60x) in 2, 1 elsewhere"
    assert rows["hierarchical", UNTRAINED][0] == "10 (3.00x)"
    alone = rows_of(drop_table({0: SEEDS[0]}), "structure", "spectrum")
    assert alone["hierarchical", TRAINED][:2] == ["10 (2.00x)", "2 (1.50x)"]


def test_known_numbers_have_the_place_and_the_ratio_of_their_drop():
    rows = rows_of(known_number_table(SEEDS), "structure", "number of")
    number, place, ratio, *_, outputs_place, outputs_ratio = rows["hierarchical", "features"]
    assert (number, place) == (10, 1)
    assert ratio == pytest.approx(3, rel=0.01)
    # the outputs' spectrum ends with the features
    assert (outputs_place, outputs_ratio) == (None, None)
    number, place, ratio, *_ = rows["hierarchical", "parents"]
    assert number == 2
    assert place > 2
    assert ratio == pytest.approx((1.5 + 1.7 + 1) / 3, rel=0.01)


def test_leads_are_paired_and_the_outputs_stand_apart():
    rows = rows_of(lead_table(SEEDS), "structure", "ground", "method")
    above, other, which = rows["hierarchical", "by scores over the examples", ENTK]
    assert isinstance(above, Signed)
    assert above.found.value == pytest.approx(0.6 - 0.9)
    # by its mean over the seeds: (0.6 + 0.6 + 0.1) / 3; a bound that knows the truth is no baseline
    assert which == OUTPUT_ICA
    differences = [0.5 - 0.6, 0.6 - 0.6, 0.7 - 0.1]
    assert other.found.value == pytest.approx(sum(differences) / 3)
    assert other.found.low < other.found.value < other.found.high
    alone = rows_of(lead_table({0: SEEDS[0]}), "structure", "ground", "method")
    assert alone["hierarchical", "in hidden space", ENTK][1] == pytest.approx(-0.1)


def test_cosines_of_kinds_and_of_matched_directions():
    rows = rows_of(cosine_table(SEEDS, "hidden"), "structure", "method")
    count, best, matched = rows["hierarchical", ENTK]
    assert count == 4
    assert isinstance(best, IntervalEstimate)
    assert best.value == pytest.approx(0.6)
    # four directions for ten features
    assert matched.value == pytest.approx(0.6 * 4 / 10)
    rows = rows_of(kind_table(SEEDS), "structure", "kind", "method")
    assert rows["hierarchical", "parent", SAE][0].value == pytest.approx(0.3)
    assert rows["hierarchical", "child", SAE][0].value == pytest.approx(0.1)


def test_rotations_that_did_not_converge_are_named():
    rows = rows_of(model_table(SEEDS), "structure", "seed")
    assert rows["hierarchical", 0][-2:] == [2, "none"]
    assert rows["hierarchical", 4][-2:] == [2, ENTK_ICA]
    assert rows["hierarchical", 3][:5] == ["2.50e-01", 10, 0.1, 0.9, 4.5]
