"""Every weight and head of a small story model, N = 1024, against the least it could take.

    python -m benchmarks.dense_at_scale [--n 1024] [--length 64]

The least: the forward and backward passes alone, plus the Gram products' operations at half of
this machine's measured matrix-product rate. The model has the size of a story model of about
260 thousand parameters (3 layers of width 64); its weights are random.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

import tl_entk
from tl_entk.kernel.cost import matrix_product_rate
from tl_entk.kernel.gram import gram_flops
from tl_entk.model.adapters import adapt


def story_model(length: int):
    import transformer_lens.model_bridge.sources.native  # noqa: F401
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        n_layers=3, d_model=64, d_head=16, n_heads=4, d_mlp=256, n_ctx=length, d_vocab=1024,
        act_fn="gelu", normalization_type="LN", seed=0,
    )  # fmt: skip
    return TransformerBridge.boot_native(config).eval()


def passes_alone(model, tokens) -> float:
    """Forward and backward of the target logit, gradients of every weight's output."""
    embedded = {}
    module = model.original_model.get_submodule("tok_embed")
    handle = module.register_forward_hook(
        lambda _, __, output: embedded.setdefault("x", output.detach().requires_grad_())
    )
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    started = time.perf_counter()
    logits = model(tokens)[:, -1]
    torch.autograd.grad(logits.amax(1).sum(), embedded["x"])
    seconds = time.perf_counter() - started
    handle.remove()
    for parameter in wanted:
        parameter.requires_grad_(True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = story_model(arguments.length)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 1024, (arguments.n, arguments.length), generator=generator)
    device = torch.device("cpu")
    tl_entk.kernel_blocks(model, tokens[:8], "target_logit", lambda name: True)
    sites = adapt(model).sites
    # the last block's queries, output and MLP, the final norm and the unembedding have one position
    last = model.cfg.n_layers - 1
    once = (f"blocks.{last}.attn.W_Q", f"blocks.{last}.attn.b_Q", f"blocks.{last}.attn.W_O",
            f"blocks.{last}.mlp", "unembed")  # fmt: skip
    flops = sum(
        gram_flops(site, arguments.n, 1 if site.name.startswith(once) else arguments.length, 1)
        for site in sites
    )
    for _ in range(arguments.repeats):
        rate = matrix_product_rate(torch.float32, device)
        alone = passes_alone(model, tokens)
        started = time.perf_counter()
        blocks = tl_entk.kernel_blocks(
            model, tokens, "target_logit", lambda name: True, memory_budget=8 * 2**30
        )
        ours = time.perf_counter() - started
        least = alone + flops / (0.5 * rate)
        print(
            f"{len(blocks)} blocks, N = {arguments.n}, T = {arguments.length}: {ours:.2f} s; "
            f"passes alone {alone:.2f} s, {flops / 1e9:.0f} GFLOP of products at half of "
            f"{rate / 1e9:.0f} GFLOP/s {flops / (0.5 * rate):.2f} s: {ours / least:.2f}x of both",
            flush=True,
        )


if __name__ == "__main__":
    main()
