"""Search of what a Krylov basis has missed: copies of an eigenvalue that it holds already.

A Krylov space of b vectors has at most b vectors of any eigenspace, in exact arithmetic for ever:
all wanted pairs can have converged while others are missing. So the complement of the basis is
searched from fresh random vectors. Its largest Ritz value mu after s products bounds what it can
hold: with probability 1 - p over the start, its largest eigenvalue is at most mu / (1 - eps) where
1.648 sqrt(n) exp(-sqrt(eps) (2 s - 1)) = p.

Source: J. Kuczynski, H. Wozniakowski, Estimating the largest eigenvalue by the power and Lanczos
algorithms with a random start, SIAM J. Matrix Anal. Appl. 13 (1992), Theorem 4.2.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.directions.lanczos import LanczosState, widen

_CHANCE = 0.01
# a tenth of what 25 pairs of a language model take; the bound is then about 2 mu
MOST_STEPS = 8


def upper_bound(ritz_value: float, rows: int, steps: int) -> float:
    """What no eigenvalue of the searched part exceeds, but for one chance in a hundred.

    Args:
        ritz_value: its largest after so many steps.
        rows: of the matrix.
        steps: products of one random vector and those that follow from it.

    Example:
        >>> upper_bound(1.0, 65536, 4), round(upper_bound(1.0, 65536, 8), 1)
        (inf, 2.0)
    """
    if steps < 1:
        return math.inf
    excess = (math.log(1.648 * math.sqrt(rows) / _CHANCE) / (2 * steps - 1)) ** 2
    return ritz_value / (1 - excess) if excess < 1 else math.inf


def none_missed_above(state: LanczosState) -> float:
    """No eigenvalue above this is missing, but for one chance in a hundred.

    Infinite where the complement was not searched, or not for long enough to tell.
    """
    if state.exhausted:
        return 0.0
    if state.searched is None:
        return math.inf
    return upper_bound(_largest_found(state), state.rows.count, _steps(state))


def is_searched(state: LanczosState, values: Float[Tensor, " k"], capacity: int) -> bool:
    """Whether nothing that is wanted can be missing, or the search can tell no more.

    Args:
        state: whose leading Ritz pairs have converged.
        values: of those pairs, largest first.
        capacity: columns that the basis may have.
    """
    held = state.basis.shape[1]
    if state.full:  # the fresh vectors are all there is
        return state.exhausted
    if state.searched is None:
        return len(values) + 2 * (held - state.known + state.search_width) > capacity
    if _has_found(state, values):
        return False
    enough = none_missed_above(state) <= _least_wanted(state, values) or _steps(state) >= MOST_STEPS
    return enough or held + state.search_width > capacity


def choose_width(state: LanczosState, values: Float[Tensor, " k"], converged: bool) -> int | None:
    """How many fresh vectors are multiplied next: those of a search alone, or (None) all.

    Begins a search when the pairs have converged, and ends it when it has found something: the
    next one then begins with twice as many vectors.

    Args:
        state: which is changed.
        values: of the leading Ritz pairs, largest first.
        converged: whether these pairs have.
    """
    if state.searched is not None and (state.full or not converged or _has_found(state, values)):
        state.searched = None
        state.search_width *= 2
    if state.full or not converged:
        return None
    if state.searched is None:
        widen(state, state.search_width)
        state.searched = 0
    return state.search_width


def _steps(state: LanczosState) -> int:
    assert state.searched is not None
    return state.searched // state.search_width


def _has_found(state: LanczosState, values: Float[Tensor, " k"]) -> bool:
    """Whether the search has come upon an eigenvalue that belongs among the wanted."""
    return _largest_found(state) >= _least_wanted(state, values) * (1 - 1e-12)


def _least_wanted(state: LanczosState, values: Float[Tensor, " k"]) -> float:
    """The least eigenvalue that would belong among the wanted: none is told from rounding."""
    rounding = 100 * torch.finfo(state.basis.dtype).eps * float(values[0].abs())
    return max(float(values[-1]), rounding, torch.finfo(torch.float64).tiny)


def _largest_found(state: LanczosState) -> float:
    """The largest Ritz value of the searched part."""
    if not state.searched:
        return 0.0
    part = state.projected[-state.searched :, -state.searched :]
    return float(torch.linalg.eigvalsh(part)[-1]) * state.scale
