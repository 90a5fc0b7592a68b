"""Which heads the feature "the last token is repeated" is attributed to, with and without kernels.

The feature is the centered unit indicator f of the windows that repeat their last token. A head's
kernel K_h is the sum of its slices of W_Q, W_K, W_V and W_O. Settled before any result was seen:

- the share f^T K_h f / sum of f^T K f over all heads, and the largest |cosine| of f with the ten
  leading eigendirections of the centered K_h;
- the readouts. ``target_logit`` of the true next token comes first: its mean gradient over
  windows that repeat is what raises the answers that induction knows. The gradient of
  ``target_logprob`` has mean zero where a model's probabilities are right, whatever it computes,
  so that differences of its means are small: it is here because it is the gradient of the loss.
  ``logsumexp`` knows no answer, ``final_hidden`` is the kernel of every number of the final state;
- baselines of the same windows: the centered trace of K_h (no feature at all), the gradient of the
  loss of the windows that repeat, and of the head's own output z at the read position a probe, its
  principal components, and how far its mean moves the residual stream.

The gradient of the loss weighted by f is no baseline of its own: its squared norm is the share with
``target_logprob``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.attribution import component_shares, head_shares
from tl_entk.alignment.baselines import pca_scores
from tl_entk.alignment.overlap import abs_cosines
from tl_entk.alignment.probes import probe_scores
from tl_entk.directions.eigen import eigendecompose
from tl_entk.experiments.induction.data import Windows
from tl_entk.experiments.induction.head_scores import HEAD_OUTPUTS, HeadScores
from tl_entk.experiments.induction.model import LAYERS
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.kernel.normalize import center
from tl_entk.model.readouts import Readout, ReadoutLike

TARGET_LOGIT, TARGET_LOGPROB = "target_logit", "target_logprob"
LOGSUMEXP, FINAL = "logsumexp", "final_hidden"
READOUTS = (TARGET_LOGIT, TARGET_LOGPROB, LOGSUMEXP, FINAL)
HEADS = "*.attn.W_?[*]"
# circuit to the letters of its weights
CIRCUITS = {"QK": "QK", "OV": "VO"}
TRACE, LOSS_GRADIENT = "trace", "gradient of the loss"
PROBE, PCA, MEAN_OUTPUT = "probe on z", "PCA of z", "mean output"
# methods without a feature's kernel energy
BASELINES = (TRACE, LOSS_GRADIENT, PROBE, PCA, MEAN_OUTPUT)
DIRECTIONS = 10


def share_label(readout: str) -> str:
    """What the share with a readout is called.

    Example:
        >>> share_label("target_logit")
        'share, target_logit'
    """
    return f"share, {readout}"


def head_kernels(model: Any, windows: Windows, readout: ReadoutLike) -> KernelBlocks:
    """Kernels of every head's slices of W_Q, W_K, W_V and W_O, read at the windows' positions.

    Args:
        model: of either TransformerLens class.
        windows: pairs.
        readout: of :data:`READOUTS`; the target is the true next token.
    """
    if readout == FINAL:
        readout = Readout(lambda states: states, reads="final_hidden", name=FINAL)
    targets = windows.target if readout in (TARGET_LOGIT, TARGET_LOGPROB) else None
    return kernel_blocks(
        model, windows.tokens, readout, HEADS, position=windows.position, targets=targets
    )


def share_of_heads(
    blocks: KernelBlocks, direction: Float[Tensor, " n"], letters: str = "QKVO"
) -> HeadScores:
    """Share of every head in the energy u^T K u of all heads together.

    Args:
        blocks: from :func:`head_kernels`.
        direction: u.
        letters: weights whose slices are counted.
    """
    shares = component_shares(blocks, direction)
    return _by_head({name: share for name, share in shares.items() if _letter(name) in letters})


def trace_of_heads(blocks: KernelBlocks) -> HeadScores:
    """Share of every head in the trace of the centered kernels: energy along all features alike."""
    traces = {name: float(center(block).double().trace()) for name, block in blocks.items()}
    found = _by_head(traces)
    return found / found.sum()


def align_heads(blocks: KernelBlocks, feature: Float[Tensor, " n"]) -> HeadScores:
    """Largest |cos| of a feature with the leading eigendirections of every head's centered kernel.

    Args:
        blocks: from :func:`head_kernels`.
        feature: centered.
    """
    slices: dict[str, list[str]] = {}
    for name in blocks:
        slices.setdefault(name.replace(f"W_{_letter(name)}", "W_?"), []).append(name)
    found = []
    for names in slices.values():
        kernel = center(blocks.sum(names))
        eigen = eigendecompose(kernel, min(DIRECTIONS, len(kernel)))
        found.append(abs_cosines(eigen.vectors, feature[:, None]).max())
    return torch.stack(found).view(LAYERS, -1)


def _letter(name: str) -> str:
    """Q of "blocks.0.attn.W_Q[1]"."""
    return name.partition("[")[0][-1]


def _by_head(values: dict[str, float]) -> HeadScores:
    """Slices of a head together: (layers, heads)."""
    found = list(head_shares(values).values())
    return torch.tensor(found, dtype=torch.float64).view(LAYERS, -1)


def attribute(model: Any, windows: Windows) -> dict[str, HeadScores]:
    """Every attribution of the feature to the heads, those of kernels first.

    Args:
        model: of either TransformerLens class.
        windows: pairs.

    Returns:
        Label to numbers, of which larger is more of the feature.
    """
    feature, found = windows.feature, {}
    baselines: dict[str, HeadScores] = {}
    for readout in READOUTS:
        blocks = head_kernels(model, windows, readout)
        found[share_label(readout)] = share_of_heads(blocks, feature)
        if readout == TARGET_LOGIT:
            for circuit, letters in CIRCUITS.items():
                found[f"share of {circuit}, {readout}"] = share_of_heads(blocks, feature, letters)
            baselines[TRACE] = trace_of_heads(blocks)
        if readout == TARGET_LOGPROB:
            baselines[LOSS_GRADIENT] = share_of_heads(blocks, windows.repeated.double())
        found[f"alignment, {readout}"] = align_heads(blocks, feature)
    return found | baselines | output_baselines(model, windows)


def output_baselines(model: Any, windows: Windows) -> dict[str, HeadScores]:
    """What the heads' own outputs z at the read position tell of the feature.

    Of a ridge regression of the indicator on z, fitted on every other pair, the R^2 on the rest;
    the largest |cos| of the feature with ten principal components of z; the length of W_O's image
    of z's mean over windows that repeat less that over the others.

    Args:
        model: of either TransformerLens class.
        windows: pairs.
    """
    outputs = activations_at(model, windows.tokens, HEAD_OUTPUTS, windows.position)
    half = windows.repeated
    rows: dict[str, list[float]] = {PROBE: [], PCA: [], MEAN_OUTPUT: []}
    for layer, name in enumerate(HEAD_OUTPUTS):
        weights = model.W_O[layer].detach()
        for z, weight in zip(outputs[name].chunk(len(weights), 1), weights, strict=True):
            rows[PROBE].append(_probe(z, half))
            scores = pca_scores(z, min(DIRECTIONS, *z.shape))
            rows[PCA].append(float(abs_cosines(scores, windows.feature[:, None]).max()))
            moved = (z[half].mean(0) - z[~half].mean(0)) @ weight
            rows[MEAN_OUTPUT].append(float(moved.norm()))
    return {
        name: torch.tensor(values, dtype=torch.float64).view(LAYERS, -1)
        for name, values in rows.items()
    }


def _probe(z: Float[Tensor, "n d"], half: Bool[Tensor, " n"]) -> float:
    """R^2 on the pairs that the probe was not fitted on."""
    states, truth = z.double().numpy(), half.double()[:, None].numpy()
    test = np.arange(len(states)) % (len(states) // 2) % 2 == 1
    guess = probe_scores(states[~test], truth[~test], states[test], [False])
    return float(1 - ((guess - truth[test]) ** 2).mean() / truth[test].var())
