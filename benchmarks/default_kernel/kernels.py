"""Kernels of every readout, weight, layer and scaling, from one backward pass per readout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import tl_entk
from tl_entk.kernel.gram import gram
from tl_entk.kernel.normalize import center, cosine_normalize
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.factors import Outer, collect
from tl_entk.model.request import read_request

# every gradient is a combination of these outputs' gradients
OUTPUTS = ("target", "logsumexp", "runner-up", "mean")
READOUTS = {
    "target_logit": (1, 0, 0, 0),
    "logsumexp": (0, 1, 0, 0),
    "target_logprob": (1, -1, 0, 0),
    "target_margin": (1, 0, -1, 0),
    "mean_logit": (0, 0, 0, 1),
    "runner-up": (0, 0, 1, 0),
}
# sum of the kernels of the two largest logits
TOP_TWO = "top two"
EVERY, LAST = "every position", "last position"
SCALINGS = ("plain", "median", "cosine", "within token")
LATER, ALL = "later half", "all layers"


class Candidate(NamedTuple):
    """One way to make a kernel; ``layer`` is a number, or says which layers are added."""

    readout: str
    component: str
    positions: str
    scaling: str
    centered: bool
    layer: str


def outputs(logits: Tensor) -> Tensor:
    """The largest logit, logsumexp, the second largest logit, the mean."""
    top = logits.topk(2, 1).values
    return torch.stack([top[:, 0], logits.logsumexp(1), top[:, 1], logits.mean(1)], 1)


def layer_kernels(
    model, tokens: Tensor, weight: str, readouts: Sequence[str], step: int
) -> Iterator[tuple[str, str, str, Tensor]]:
    """Layer, readout, positions, kernel (float64), so many layers a pass."""
    adapter = adapt_transformer(model)
    needed = [i for i in range(len(OUTPUTS)) if any(READOUTS[name][i] for name in readouts)]
    readout = tl_entk.Readout(lambda logits: outputs(logits)[:, needed])
    for start in range(0, adapter.n_layers, step):
        layers = range(start, min(start + step, adapter.n_layers))
        names = [f"blocks.{layer}.{weight}" for layer in layers]
        request = read_request(adapter, tokens, names, readout)
        sites = [site for site in adapter.sites if site.name in names]
        with frozen(model), torch.enable_grad():
            factors = collect(
                request.task, sites, columns=slice(0, len(needed)), batch_size=16,
                dtype=torch.float32,
            )  # fmt: skip
        for layer, name in zip(layers, names, strict=True):
            found = factors.pop(name)
            x, parts = found.x, found.g.chunk(len(needed), -1)
            for readout_name in readouts:
                signs = [READOUTS[readout_name][i] for i in needed]
                g = sum(sign * part for sign, part in zip(signs, parts, strict=True) if sign)
                both = {EVERY: Outer(x, g), LAST: Outer(x[:, -1:], g[:, -1:])}
                for positions, one in both.items():
                    yield str(layer), readout_name, positions, gram(one, 2**30).sum(0).double()


def scale(kernel: Tensor, scaling: str, predicted: Tensor) -> Tensor:
    """The kernel after one of ``SCALINGS``."""
    if scaling == "plain":
        return kernel
    if scaling == "median":
        return kernel / kernel.diagonal().median()
    kernel = cosine_normalize(kernel)
    if scaling == "cosine":
        return kernel
    _, index = predicted.unique(return_inverse=True)
    same = (index[:, None] == index).double()
    residual = torch.eye(len(kernel)).double() - same / same.sum(1, keepdim=True)
    return residual @ kernel @ residual


def top_scores(kernel: Tensor, k: int) -> Tensor:
    """The k leading eigenvectors."""
    return torch.linalg.eigh(kernel)[1][:, -k:].flip(1)


def candidate_scores(
    model, tokens: Tensor, predicted: Tensor, components: dict[str, str], k: int, step: int, say
) -> dict[Candidate, Tensor]:
    """Scores (n, k) of every candidate.

    Args:
        model: a language model.
        tokens: (n, t) windows.
        predicted: (n,) the most probable token.
        components: name to weight within the layer; the first has every readout, the others the
            target's logit and logsumexp.
        k: directions.
        step: layers whose factors are held at once.
        say: called with what is done.
    """
    n_layers = adapt_transformer(model).n_layers
    groups = {ALL: range(n_layers), LATER: range(n_layers // 2, n_layers)}
    found: dict[Candidate, Tensor] = {}
    sums: dict[Candidate, Tensor] = {}

    def keep(one: Candidate, kernel: Tensor) -> None:
        found[one] = top_scores(kernel, k)
        found[one._replace(centered=True)] = top_scores(center(kernel), k)

    def add(one: Candidate, kernel: Tensor) -> None:
        for name, layers in groups.items():
            if int(one.layer) in layers:
                total = one._replace(layer=name)
                sums[total] = sums[total] + kernel if total in sums else kernel

    for number, (component, weight) in enumerate(components.items()):
        readouts = list(READOUTS) if number == 0 else ["target_logit", "logsumexp"]
        kept: dict[tuple[str, str], Tensor] = {}
        for layer, readout, positions, kernel in layer_kernels(
            model, tokens, weight, readouts, step
        ):
            kept[readout, positions] = kernel
            several = {readout: kernel}
            if readout == "runner-up":
                several = {TOP_TWO: kernel + kept["target_logit", positions]}
            for name, value in several.items():
                for scaling in SCALINGS:
                    one = Candidate(name, component, positions, scaling, False, layer)
                    scaled = scale(value, scaling, predicted)
                    keep(one, scaled)
                    add(one, scaled)
            if readout == readouts[-1] and positions == LAST:
                say(f"{component}, layer {layer}")
    # the weights together: kernels of each layer's components, scaled, then added
    together: dict[Candidate, Tensor] = {}
    for one, kernel in sums.items():
        whole = one._replace(component=" + ".join(components))
        if len(components) > 1 and one.readout in ("target_logit", "logsumexp"):
            together[whole] = together[whole] + kernel if whole in together else kernel
    for one, kernel in {**sums, **together}.items():
        keep(one, kernel)
    return found
