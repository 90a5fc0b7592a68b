"""Tables of the report on superposition with structure."""

from __future__ import annotations

from collections import Counter

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.experiments.structured_superposition.analysis import (
    OUTPUTS as OUTPUT_SPECTRUM,
)
from tl_entk.experiments.structured_superposition.analysis import (
    TRAINED,
    UNTRAINED,
    Ground,
    StructureResult,
)
from tl_entk.experiments.structured_superposition.methods import (
    BASELINES,
    KERNEL_METHODS,
    METHODS,
    OUTPUTS,
)
from tl_entk.experiments.structured_superposition.over_seeds import (
    StructureSeeds,
    by_structure,
    find_lead,
    known_numbers,
    mean_cosine,
)
from tl_entk.report.parts import Cell, Cells, Signed, Table, interval
from tl_entk.report.toys.wording import NONE

SPECTRA = (TRAINED, UNTRAINED, OUTPUT_SPECTRUM)
GROUNDS: dict[Ground, str] = {
    "scores": "by scores over the examples",
    "hidden": "in hidden space",
    "expanded": "over examples and outputs",
}
# largest drops that are named for each spectrum
_MOST = 3


def show_mean(found: IntervalEstimate) -> Cell:
    """A mean over seeds as a cell; of one seed the figure alone."""
    return found if found.low <= found.high else found.value


def format_mean(found: IntervalEstimate) -> str:
    """A mean over seeds as text; of one seed the figure alone.

    Example:
        >>> format_mean(IntervalEstimate(0.5, float("nan"), float("nan")))
        '0.50'
    """
    return interval(found) if found.low <= found.high else f"{found.value:.2f}"


def drop_table(seeds: StructureSeeds) -> Table:
    """The largest drops of every spectrum."""
    rows: list[Cells] = [
        [name, spectrum, *[_count_positions(results, spectrum, i) for i in range(_MOST)]]
        for name, results in by_structure(seeds).items()
        for spectrum in SPECTRA
    ]
    return Table(
        "structure_drops",
        "Modes before the three largest drops of every spectrum, with their mean ratios; where "
        "seeds differ, in how many seeds, and how many have it elsewhere, each at its own place.",
        ("structure", "spectrum", "largest", "second", "third"),
        rows,
        text=True,
    )


def _count_positions(results: list[StructureResult], spectrum: str, place: int) -> str:
    """The positions of one drop over the seeds, the most frequent first."""
    drops = [found[place] for r in results if len(found := r.drops(spectrum)) > place]
    said, elsewhere = [], 0
    for position, times in Counter(drop.position for drop in drops).most_common():
        ratio = sum(drop.ratio for drop in drops if drop.position == position) / times
        if times == len(results):
            return f"{position} ({ratio:.2f}x)"
        if times > 1:
            said.append(f"{position} ({ratio:.2f}x) in {times}")
        else:
            elsewhere += 1
    if elsewhere:
        said.append(f"{elsewhere} elsewhere" if said else "differs")
    return ", ".join(said) or NONE


def known_number_table(seeds: StructureSeeds) -> Table:
    """Every spectrum after the numbers that a cliff could count."""
    rows: list[Cells] = []
    for name, results in by_structure(seeds).items():
        spectra = [known_numbers(results, spectrum) for spectrum in SPECTRA]
        for same in zip(*spectra, strict=True):
            cells = [cell for one in same for cell in (one.place.value, one.ratio.value)]
            shown: Cells = [None if cell != cell else cell for cell in cells]
            least, most = same[0].least, same[0].most
            rows.append(
                [name, same[0].name, least if least == most else f"{least} to {most}", *shown]
            )
    heads = [head for spectrum in SPECTRA for head in (f"place, {spectrum}", f"ratio, {spectrum}")]
    return Table(
        "structure_known_numbers",
        "The drop after each number that a cliff could count: its place among all drops (1 is the "
        "largest) and its ratio, means over the seeds.",
        ("structure", "number of", "is", *heads),
        rows,
    )


def cosine_table(seeds: StructureSeeds, ground: Ground) -> Table:
    """Mean best and matched |cos| of every method on one ground."""
    rows: list[Cells] = [
        [
            name,
            method,
            min(len(result.scores[method]) for result in results),
            show_mean(mean_cosine(results, method, ground)),
            show_mean(mean_cosine(results, method, ground, matched=True)),
        ]
        for name, results in by_structure(seeds).items()
        for method in METHODS
    ]
    return Table(
        f"structure_cosines_{ground}",
        f"Mean over the features of the best |cos| with any direction, and of that with the one-to-"
        f"one matched one, {GROUNDS[ground]}.",
        ("structure", "method", "directions", "best", "matched"),
        rows,
    )


def kind_table(seeds: StructureSeeds) -> Table:
    """Parents beside children, parts beside wholes."""
    rows: list[Cells] = []
    for name, results in by_structure(seeds).items():
        kinds = dict.fromkeys(results[0].parsed.kinds)
        if len(kinds) < 2:
            continue
        rows += [
            [name, kind, method, *[show_mean(mean_cosine(results, method, ground, kind=kind))
                                   for ground in GROUNDS]]
            for kind in kinds
            for method in METHODS
        ]  # fmt: skip
    return Table(
        "structure_kinds",
        "Mean best |cos| of parents and children, of parts and wholes.",
        ("structure", "kind", "method", *GROUNDS.values()),
        rows,
    )


def lead_table(seeds: StructureSeeds) -> Table:
    """The kernel less the strongest baseline, and less the strongest that knows no outputs."""
    unnamed = [method for method in BASELINES if method != OUTPUTS]
    rows: list[Cells] = []
    for name, results in by_structure(seeds).items():
        for ground, said in GROUNDS.items():
            for method in KERNEL_METHODS:
                above = find_lead(results, method, ground, [OUTPUTS])
                other = find_lead(results, method, ground, unnamed)
                cells = [_show_lead(found.difference) for found in (above, other)]
                rows.append([name, said, method, cells[0], cells[1], other.other])
    return Table(
        "structure_leads",
        "Mean best |cos| of the kernel's directions less that of the outputs as they are, and less "
        "that of the strongest other baseline; differences are paired by seed.",
        ("structure", "ground", "method", f"less {OUTPUTS}", "less the strongest other", "which"),
        rows,
    )


def _show_lead(found: IntervalEstimate) -> Cell:
    return Signed(found) if found.low <= found.high else found.value


def model_table(seeds: StructureSeeds) -> Table:
    """How the models and the methods' own trainings came out."""
    rows: list[Cells] = [
        [
            name,
            seed,
            f"{result.loss[-1]:.2e}",
            result.known_numbers["represented"],
            result.autoencoder["penalty"],
            result.autoencoder["explained"],
            result.autoencoder["active"],
            int(result.autoencoder["dead"]),
            ", ".join(m for m, converged in result.converged.items() if not converged) or NONE,
        ]
        for name, results in by_structure(seeds).items()
        for seed, result in zip(seeds, results, strict=True)
    ]
    return Table(
        "structure_models",
        "Loss, diagonal entries of W^T W above 0.75, and the sparse autoencoder taken.",
        ("structure", "seed", "loss", "W^T W > 0.75", "SAE's penalty", "explained", "active",
         "dead", "not converged"),
        rows,
    )  # fmt: skip
