"""The matrix-free operator against the dense flattened logit kernel, on every architecture."""

import pytest
import torch

from tests.models import MODELS, build, tokens
from tests.oracle import head_slices, jacobians, relative_error
from tests.test_blocks_oracle import FLOAT32_INSIDE, NOT_FUNCTIONAL
from tl_entk.adapters import adapt
from tl_entk.build_operator import kernel_operator

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def dense_jacobians(model, name, position=-1):
    """Component -> (N C, P) Jacobian of all logits, heads and the tied parameter included."""
    adapter = adapt(model)
    dense = jacobians(model, tokens(), lambda z: z, position, name not in NOT_FUNCTIONAL)
    found = {}
    for site in adapter.sites:
        jacobian = dense[site.name].double()
        if adapter.tied and site.name in ("embed.W_E", "unembed.W_U"):
            found["tied_embedding"] = jacobian.flatten(2).flatten(0, 1)
            continue
        found[site.name] = jacobian.flatten(2).flatten(0, 1)
        for head, part in zip(site.head_names, head_slices(site, jacobian) if site.heads else ()):
            found[head] = part.flatten(2).flatten(0, 1)
    return found


def whitened(model, flattened):
    """V^T K V, with the columns of V an orthonormal basis of W_U's span, rotated to S^1/2."""
    W_U = adapt(model).unembedding.double()
    n = flattened.shape[0] // W_U.shape[1]
    left, size, right = torch.linalg.svd(W_U, full_matrices=False)
    V = torch.block_diag(*[right.T @ left.T] * n)
    return V.T @ flattened @ V


def cases(name):
    """Every kind of component: each weight, norm and bias of a layer, heads, layers, the whole."""
    adapter = adapt(build(name))
    layer = adapter.cfg.n_layers - 1
    singles = [n for n in adapter.component_names if "blocks.0." not in n and "[" not in n]
    heads = [f"blocks.0.attn.W_{m}[{h}]" for m, h in (("Q", 1), ("K", 0), ("V", 0), ("O", 2))]
    several = [["blocks.0.attn.W_O[0]", "blocks.0.attn.W_O[3]", f"blocks.{layer}.attn.W_Q[0]"]]
    names = adapter.component_names
    heads = [head for head in heads if head in names]
    several = [group for group in several if set(group) <= set(names)]
    return singles, [*heads, *several, "blocks.0.*", "blocks.*", lambda name: True]
