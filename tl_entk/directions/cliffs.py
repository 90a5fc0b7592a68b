"""Cliffs: drops of an eigenvalue spectrum, which count the features a kernel holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from feature_sets.errors import UserError
from tl_entk.tools.arrays import Array, to_tensor, to_vector
from tl_entk.tools.values import check_at_least, check_share


@dataclass(frozen=True)
class Cliff:
    """A drop of the spectrum.

    Attributes:
        position: number of modes before the drop: eigenvalue number ``position`` (counted from
            1) is the last high one.
        ratio: last high eigenvalue over the first low one.
        sharpness: log ratio over the median log ratio of the drops around it; 1 is no cliff.
    """

    position: int
    ratio: float
    sharpness: float

    def __post_init__(self) -> None:
        check_at_least("position", self.position)


def find_cliffs(
    eigenvalues: Array,
    count: int = 5,
    *,
    skip: int = 0,
    window: int = 8,
    floor: float = 1e-10,
) -> list[Cliff]:
    """The largest relative drops lambda_i / lambda_{i+1} of a spectrum, largest first.

    Args:
        eigenvalues: (k,) in descending order.
        count: how many drops to report at most.
        skip: leave out drops before this position: 2 leaves out the drop after the first mode, 0
            and 1 nothing.
        window: how many drops on either side the sharpness is measured against.
        floor: eigenvalues below floor times the first are rounding errors and end the spectrum.

    Raises:
        UserError: if the eigenvalues are no finite numbers in descending order, all are negative,
            or skip, count, window or floor is out of range.

    Source: arXiv 2510.00468 (cliffs; the sharpness is ours).

    Example:
        >>> find_cliffs(torch.tensor([9.0, 8.0, 7.0, 1.0, 0.9, 0.8]), count=1)[0].position
        3
    """
    check_at_least("count", count, 0)
    check_at_least("skip", skip, 0)
    check_at_least("window", window)
    check_share("floor", floor, "a share of the first", 1e-10)
    if to_tensor(eigenvalues, "eigenvalues").shape == (0,):
        return []
    values = to_vector(eigenvalues, "eigenvalues", "eigenvalue").cpu().double()
    if bool((values.diff() > 1e-9 * values.abs().max()).any()):
        raise UserError("the eigenvalues are not in descending order: sort them.")
    if float(values[0]) < 0:
        raise UserError("no eigenvalue is positive: pass those of a kernel, largest first.")
    values = values[values > floor * values[0]]
    if len(values) < 2:
        return []
    drops = -values.log().diff()
    cliffs = []
    for index in range(max(skip, 1) - 1, len(drops)):
        around = torch.cat(
            [drops[max(0, index - window) : index], drops[index + 1 : index + 1 + window]]
        )
        typical = float(around.median()) if len(around) else float(drops[index])
        drop = float(drops[index])
        sharpness = drop / typical if typical > 0 else (float("inf") if drop > 0 else 1.0)
        cliffs.append(Cliff(index + 1, float(drops[index].exp()), sharpness))
    return sorted(cliffs, key=lambda cliff: -cliff.ratio)[:count]
