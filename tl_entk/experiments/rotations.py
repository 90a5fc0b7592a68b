"""Rotations of a cliff side by side: by hand-made Laplacians, and by ways that know no task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import one_hot

from feature_sets import FeatureSet
from tl_entk.alignment.overlap import abs_cosines, purity
from tl_entk.directions.rotation import orthonormal_directions, rotate_by_smoothness
from tl_entk.directions.unsupervised_rotation import (
    rotate_by_ica,
    rotate_by_kernel,
    rotate_by_varimax,
)

NONE = "no rotation"
NESTED = "two Laplacians, one inside the other"
DIFFERENCE = "difference of the two Laplacians"
GRAPH = "graph of the directions' own neighbors"
KERNEL_GRAPH = "graph of the kernel's neighbors"
VARIMAX = "varimax"
ICA = "ICA"
PURE = 0.9


def rotate_every_way(
    vectors: Float[Tensor, "n k"],
    kernel: Float[Tensor, "n n"],
    laplacians: Sequence[csr_array],
    *,
    seed: int = 0,
) -> dict[str, Float[Tensor, "n k"]]:
    """The directions under every rotation, by name; all but the first three know no torus.

    ``DIFFERENCE`` rotates by L_1 - L_2: what is rough along both, as directions of other families
    that leaked into the cliff are, cancels, so that the smoothest waves are not mistaken for it.

    Args:
        vectors: (N, k) of one cliff.
        kernel: (N, N), whose cliff it is.
        laplacians: the two that tell its two families apart.
        seed: of the varimax and ICA starts.
    """
    first, second = laplacians
    with warnings.catch_warnings():
        # a rotation that has not converged is shown as it came
        warnings.simplefilter("ignore", UserWarning)
        return {
            NONE: orthonormal_directions(vectors),
            NESTED: rotate_by_smoothness(vectors, [first, second]).vectors,
            DIFFERENCE: rotate_by_smoothness(vectors, [first - second]).vectors,
            GRAPH: rotate_by_kernel(vectors).vectors,
            KERNEL_GRAPH: rotate_by_kernel(vectors, kernel).vectors,
            VARIMAX: rotate_by_varimax(vectors, seed).vectors,
            ICA: rotate_by_ica(vectors, seed).vectors,
        }


def mark_residues(
    a: Int[Tensor, " n"], b: Int[Tensor, " n"], p: int, families: Sequence[str]
) -> Float[Tensor, "n f"]:
    """Columns that are 1 where a, b, a + b or a - b (mod p) has one value, and 0 elsewhere.

    Example:
        >>> a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> mark_residues(a, b, 2, ["a+b"]).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    values = {"a": a, "b": b, "a+b": (a + b) % p, "a-b": (a - b) % p}
    return torch.cat([one_hot(values[family], p).double() for family in families], 1)


def measure_purities(
    rotated: dict[str, Float[Tensor, "n k"]],
    features: FeatureSet,
    residues: Float[Tensor, "n f"],
    **about: Any,
) -> list[dict[str, Any]]:
    """How much of the directions lies on one (family, frequency), one family, one residue.

    Args:
        rotated: directions by rotation.
        features: groups are (family, frequency).
        residues: 1 where a (or b, or their sum, ...) has one value, else 0.
        about: further entries of every row.

    Returns:
        A row per rotation.
    """
    rows = []
    for name, directions in rotated.items():
        found = purity(directions, features)
        by_family = purity(directions, features, by="family")
        by_residue = abs_cosines(directions, residues).square().max(1).values
        rows.append(
            {
                **about,
                "rotation": name,
                "directions": len(found),
                "mean": float(found.mean()),
                "least": float(found.min()),
                "pure": int((found >= PURE).sum()),
                "mean_family": float(by_family.mean()),
                "pure_family": int((by_family >= PURE).sum()),
                "mean_residue": float(by_residue.mean()),
            }
        )
    return rows
