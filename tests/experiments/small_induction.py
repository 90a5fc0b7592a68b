"""A small setting of induction heads, and its network written out plainly in float64."""

import torch

from tl_entk.experiments.induction.settings import InductionSettings

SMALL = InductionSettings(
    n_heads=2, d_model=8, d_head=4, vocabulary=9, length=10, shortest=3, longest=8, batch_size=4,
    steps=6, checkpoints=3, pairs=6,
)  # fmt: skip


def plain_forward(weights, tokens, outputs=None):
    """Logits, attention patterns and outputs z of the heads (layers, n, t, heads, d_head).

    Outputs of some heads, (layer, head) to z, take the place of what they would be.
    """
    t = tokens.shape[1]
    x = weights["embed.W_E"][tokens] + weights["pos_embed.W_pos"][:t]
    patterns, every = [], []
    for layer in range(2):
        W = {name: weights[f"blocks.{layer}.attn.W_{name}"] for name in "QKVO"}
        added, layer_patterns, zs = 0, [], []
        for head in range(len(W["Q"])):
            q, k, v = (x @ W[name][head] for name in "QKV")
            scores = q @ k.transpose(1, 2) / W["Q"].shape[2] ** 0.5
            hidden = torch.arange(t)[:, None] < torch.arange(t)
            pattern = scores.masked_fill(hidden, -torch.inf).softmax(-1)
            z = pattern @ v
            if outputs and (layer, head) in outputs:
                z = outputs[layer, head]
            added = added + z @ W["O"][head]
            layer_patterns.append(pattern)
            zs.append(z)
        x = x + added
        patterns.append(layer_patterns)
        every.append(zs)
    return x @ weights["unembed.W_U"], patterns, every
