"""Key frequencies of a modular-addition model, found from its weights and from its kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.alignment.attribution import energies
from tl_entk.directions.eigen import check_kernel
from tl_entk.tools.arrays import Matrix, Rows, to_matrix
from tl_entk.tools.values import check_kind, is_number


def embedding_spectrum(embedding: Rows) -> dict[int, float]:
    """Power of each frequency in the rows of an embedding along the input axis.

    P_k = ||sum_a exp(-2 pi i k a / p) W_E[a]||^2 / p for k = 1 to p // 2.

    Args:
        embedding: rows of the p numbers (without the row of "=").

    Example:
        >>> a = torch.arange(7)
        >>> spectrum = embedding_spectrum(torch.cos(2 * torch.pi * 3 * a / 7)[:, None])
        >>> max(spectrum, key=spectrum.get)
        3
    """
    rows = to_matrix(embedding, "embedding").cpu().double()
    power = torch.fft.rfft(rows, dim=0).abs().square().sum(1) / len(rows)
    return {k: float(power[k]) for k in range(1, len(rows) // 2 + 1)}


def kernel_spectrum(kernel: Matrix, features: FeatureSet, family: str = "a+b") -> dict[int, float]:
    """Energy of each frequency of a feature family in a kernel; the weights are not looked at.

    Args:
        kernel: (N, N), for example the W_U block.
        features: Fourier features of all frequencies (``feature_sets.fourier``).
        family: which family's pairs to measure.

    Raises:
        UserError: if the numbers of examples differ, the family is unknown, or the features have
            no frequencies.
    """
    check_feature_set(features)
    matrix = check_kernel(kernel)
    if len(features.values) != len(matrix):
        raise UserError(
            f"features of {len(features.values)} examples, a kernel of {len(matrix)}: pass both "
            "for the same examples."
        )
    chosen = features.family(family)
    if not chosen.frequencies:
        raise UserError("the features have no frequencies: pass those of feature_sets.fourier.")
    frequency = dict(zip(chosen.groups, chosen.frequencies, strict=True))
    spans = {name: torch.from_numpy(chosen.group(name).values) for name in frequency}
    return {frequency[name]: energy for name, energy in energies(matrix, spans).items()}


def key_frequencies(spectrum: Mapping[int, float]) -> list[int]:
    """The frequencies before the largest relative drop of the sorted power, strongest first.

    Only drops among the stronger half count: where power has died away, ratios are noise.

    Args:
        spectrum: frequency to power, from :func:`embedding_spectrum` or :func:`kernel_spectrum`.

    Raises:
        UserError: for fewer than two frequencies, and for power that is not finite.

    Example:
        >>> key_frequencies({1: 0.1, 2: 9.0, 3: 0.12, 4: 7.0, 5: 0.11})
        [2, 4]
    """
    check_kind("spectrum", spectrum, Mapping, "a mapping from frequencies to power")
    for frequency, power in spectrum.items():
        if not is_number(power):
            raise UserError(
                f"the power of frequency {frequency} is no finite number, {power!r}: leave it out."
            )
    if len(spectrum) < 2:
        raise UserError("key frequencies stand out from others: pass at least two frequencies.")
    order = sorted(spectrum, key=lambda k: -spectrum[k])
    sizes = np.array([spectrum[k] for k in order]).clip(min=1e-300)
    half = max(1, len(order) // 2)
    drops = sizes[:half] / sizes[1 : half + 1]
    return order[: int(drops.argmax()) + 1]
