"""The report on superposition with structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from tl_entk.experiments.structured_superposition.analysis import (
    TRAINED,
    UNTRAINED,
    Ground,
    StructureResult,
)
from tl_entk.experiments.structured_superposition.methods import (
    ENTK,
    ENTK_ICA,
    METHODS,
    OUTPUT_ICA,
    SAE,
)
from tl_entk.experiments.structured_superposition.over_seeds import (
    StructureSeeds,
    by_structure,
    count_largest_drops,
    mean_cosine,
    overall_cosine,
)
from tl_entk.report import charts
from tl_entk.report.page import write_report
from tl_entk.report.parts import Fold, Picture, Section
from tl_entk.report.toys.answers import answer_structures
from tl_entk.report.toys.charts import spectrum_panels
from tl_entk.report.toys.matrices import matrix_panels
from tl_entk.report.toys.structure_tables import (
    GROUNDS,
    SPECTRA,
    cosine_table,
    drop_table,
    format_mean,
    kind_table,
    known_number_table,
    lead_table,
    model_table,
)
from tl_entk.report.toys.wording import join_numbers

# methods whose directions are drawn against the features
_DRAWN = (ENTK, ENTK_ICA, OUTPUT_ICA, SAE)


def structure_sections(seeds: StructureSeeds) -> list[Section]:
    """Spectra, methods, single directions, models; the first seed is drawn.

    Args:
        seeds: seed to its results, of the same structures for every seed.
    """
    return [
        Section(
            "Structure: where the spectra drop",
            "The flattened kernel of all examples and outputs, after and before training, and the "
            "second moments of the outputs. A model has as many outputs as features: a drop that "
            "is there before training counts outputs, not what was learned. Drops are looked for "
            "from mode 2 to 1.4 times the number of features. Gray: the kernel of other seeds.",
            [_draw_spectra(seeds), drop_table(seeds), known_number_table(seeds)],
        ),
        Section(
            "Structure: which methods find the features",
            "As many directions of every method as there are features, or as many as it has, from "
            "the same examples. The kernel uses the weights and the gradients of all outputs; PCA "
            "and ICA the outputs or the hidden activations; the sparse autoencoder (SAE) the "
            "hidden activations, with a penalty chosen by reconstruction and sparsity. The outputs "
            "as they are know what no other method does: output i was trained to be feature i.\n\n"
            "Three grounds: scores over the examples, by their correlation with a feature's "
            "values; vectors in hidden space, by their |cos| with the feature's column of W (for "
            "scores, the covariances of the hidden activations with them); and patterns over "
            "examples and outputs, by their |cos| with the expanded feature vector, as in the "
            "paper (for scores, times their covariances with the outputs).",
            [
                lead_table(seeds),
                _draw_cosines(seeds, "scores"),
                cosine_table(seeds, "scores"),
                *[
                    Fold(said, [_draw_cosines(seeds, ground), cosine_table(seeds, ground)])
                    for ground, said in GROUNDS.items()
                    if ground != "scores"
                ],
                kind_table(seeds),
            ],
        ),
        Section(
            "Structure: direction by direction",
            "|correlation| of single directions' scores with the features, of the first seed. "
            "Directions are in the order of the features that they are matched with: a clean "
            "diagonal is one direction for each feature, blocks along it are families whose "
            "members are not told apart.",
            [_draw_directions(next(iter(seeds.values())))],
        ),
        Section(
            "Structure: the models",
            "Every seed's model, and the sparse autoencoder of its hidden activations: penalty, "
            "share of their variance explained, latents active per example, and latents that are "
            "never active; rotations by ICA that did not converge.",
            [model_table(seeds)],
        ),
    ]


def _draw_spectra(seeds: StructureSeeds) -> Picture:
    lines, marks, faint = {}, {}, {}
    for name, (first, *others) in by_structure(seeds).items():
        lines[name] = {spectrum: first.eigenvalues[spectrum].numpy() for spectrum in SPECTRA}
        numbers = {k: v for k, v in first.known_numbers.items() if k != "represented"}
        marks[name] = {f"{what}, {number}": number for what, number in numbers.items()}
        faint[name] = [other.eigenvalues[TRAINED].numpy() for other in others]
    picture = spectrum_panels(lines, marks, "Spectra, by structure", faint=faint, room=True)
    caption = (
        "Leading eigenvalues, relative to the first; dotted lines at the numbers that a cliff "
        "could count."
    )
    return Picture("structure_spectra", caption, picture)


def _draw_cosines(seeds: StructureSeeds, ground: Ground) -> Picture:
    rows = {
        name: {method: mean_cosine(results, method, ground) for method in METHODS}
        for name, results in by_structure(seeds).items()
    }
    title = f"Mean best |cos| with the true features, {GROUNDS[ground]}"
    picture = charts.intervals(rows, title, "mean best |cos|", "structure")
    caption = "Mean over the features, with the 95 % interval over the seeds."
    return Picture(f"structure_cosines_{ground}", caption, picture)


def _draw_directions(results: Sequence[StructureResult]) -> Picture:
    values = {
        (result.name, method): _order(result.scores[method].numpy())
        for result in results
        for method in _DRAWN
    }
    picture = matrix_panels(
        values, label="|correlation|", row_label="direction", column_label="feature", size=2.2
    )
    return Picture("structure_directions", "Directions against features.", picture)


def _order(cosines: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Matched directions in the order of their features, then the others."""
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    matched = rows[np.argsort(columns)]
    others = np.setdiff1d(np.arange(len(cosines)), matched)
    return cosines[np.concatenate([matched, others])]


def write_structures(seeds: StructureSeeds, out: Path) -> Path:
    """The report of ``tl-entk structured-superposition``.

    Args:
        seeds: seed to its results.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    models = sum(map(len, seeds.values()))
    figures = [
        (
            f"largest drop of {spectrum} after mode n",
            f"{count_largest_drops(seeds, spectrum)} of {models}",
        )
        for spectrum in (TRAINED, UNTRAINED)
    ]
    figures += [
        (
            f"mean best |cos| by scores, {method}",
            format_mean(overall_cosine(seeds, method, "scores")),
        )
        for method in (ENTK_ICA, OUTPUT_ICA, SAE)
    ]
    return write_report(
        out,
        "Superposition with structure: what do the cliffs count, and who finds the features?",
        "f(x) = ReLU(W^T W x + b) of features that come in pairs, hierarchies, or as wholes of "
        f"parts, all of one importance. Seeds {join_numbers(seeds)}; the first is drawn.",
        figures,
        structure_sections(seeds),
        answer=answer_structures(seeds),
    )
