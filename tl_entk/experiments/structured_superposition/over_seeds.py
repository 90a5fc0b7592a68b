"""Structured toy models of several seeds, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.experiments.seeds import mean_over_seeds
from tl_entk.experiments.structured_superposition.analysis import Ground, StructureResult
from tl_entk.experiments.structured_superposition.methods import BASELINES

StructureSeeds = Mapping[int, Sequence[StructureResult]]


class Lead(NamedTuple):
    """A method beside the strongest of some others.

    Attributes:
        other: the strongest, by its mean over the seeds.
        difference: of the mean best |cos|, seed by seed, with its interval.
    """

    other: str
    difference: IntervalEstimate


class KnownNumber(NamedTuple):
    """What the spectra do after one of the numbers that a cliff could count.

    Attributes:
        name: of the number.
        least: modes, in the seed with the fewest.
        most: modes, in the seed with the most.
        place: of that drop among all drops, by size, on average over the seeds; 1 is the largest.
        ratio: last eigenvalue before it over the first after it.
    """

    name: str
    least: int
    most: int
    place: IntervalEstimate
    ratio: IntervalEstimate


def by_structure(seeds: StructureSeeds) -> dict[str, list[StructureResult]]:
    """Structure to its result of every seed.

    Args:
        seeds: seed to its results, of the same structures for every seed.
    """
    rows = [{result.name: result for result in results} for results in seeds.values()]
    return {name: [row[name] for row in rows] for name in rows[0]}


def mean_cosine(
    results: Sequence[StructureResult],
    method: str,
    ground: Ground,
    *,
    matched: bool = False,
    kind: str | None = None,
) -> IntervalEstimate:
    """Mean |cos| of one method over features and seeds, with its interval over seeds."""
    return mean_over_seeds(
        [result.mean_cosine(method, ground, matched=matched, kind=kind) for result in results]
    )


def overall_cosine(seeds: StructureSeeds, method: str, ground: Ground) -> IntervalEstimate:
    """Mean best |cos| of one method over features and structures, with its interval over seeds."""
    return mean_over_seeds(
        [
            float(np.mean([result.mean_cosine(method, ground) for result in results]))
            for results in seeds.values()
        ]
    )


def find_lead(
    results: Sequence[StructureResult],
    method: str,
    ground: Ground,
    others: Iterable[str] = BASELINES,
) -> Lead:
    """A method's mean best |cos| less that of the strongest of some others."""
    strongest = max(others, key=lambda other: mean_cosine(results, other, ground).value)
    pairs = [(r.mean_cosine(method, ground), r.mean_cosine(strongest, ground)) for r in results]
    return Lead(strongest, mean_over_seeds([a - b for a, b in pairs]))


def known_numbers(results: Sequence[StructureResult], spectrum: str) -> list[KnownNumber]:
    """The drops of a spectrum after every known number, in each seed after its own.

    A drop that is not among modes 2 to 1.4 n, or ends the spectrum, has no place.
    """
    found = []
    for name in results[0].known_numbers:
        numbers = [result.known_numbers[name] for result in results]
        places, ratios = [], []
        for result, number in zip(results, numbers, strict=True):
            drops = result.drops(spectrum)
            at = [i for i, drop in enumerate(drops) if drop.position == number]
            places.append(at[0] + 1.0 if at else np.nan)
            ratios.append(drops[at[0]].ratio if at else np.nan)
        means = mean_over_seeds(places), mean_over_seeds(ratios)
        found.append(KnownNumber(name, min(numbers), max(numbers), *means))
    return found


def count_largest_drops(seeds: StructureSeeds, spectrum: str) -> int:
    """In how many models the largest drop comes right after mode n, the number of features."""
    return sum(
        result.drops(spectrum)[0].position == len(result.diagonal)
        for results in seeds.values()
        for result in results
        if result.drops(spectrum)
    )
