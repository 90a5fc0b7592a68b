"""Every weight of the blocks at N = 256 to 1024, against the least it could take.

    python -m benchmarks.dense_at_scale [--model story|gemma] [--n 1024] [--length 64]

The least: one forward and one backward pass, plus the Gram products' operations at half of this
machine's measured matrix-product rate. The story model has about 260 thousand parameters (3 layers
of width 64), gemma the size of Gemma-3-270M; weights are random. With --passes, in the same run,
the kernels without stages: where not all factors fit, each pass goes back through the network.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

import tl_entk
from benchmarks.gemma import FULL, bridge, hugging_face_gemma, random_tokens
from tl_entk.kernel import blocks as module
from tl_entk.kernel.blocks import sites_needed
from tl_entk.kernel.cost import matrix_product_rate
from tl_entk.kernel.gram import gram_flops
from tl_entk.model.adapters import adapt
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect, measure_uses
from tl_entk.model.request import read_request

COMPONENTS = "blocks.*"


def story_model(length: int):
    import transformer_lens.model_bridge.sources.native  # noqa: F401
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        n_layers=3, d_model=64, d_head=16, n_heads=4, d_mlp=256, n_ctx=length, d_vocab=1024,
        act_fn="gelu", normalization_type="LN", seed=0,
    )  # fmt: skip
    return TransformerBridge.boot_native(config).eval()


def least_seconds(model, tokens, batch: int) -> tuple[float, float, float]:
    """Seconds of the passes alone, operations of the products, and the rate measured."""
    request = read_request(adapt(model), tokens, COMPONENTS, "target_logit")
    task = request.task
    sites = sites_needed(task.adapter, request.names)
    first = [site for site in sites if site.name == "blocks.0.attn.W_Q"]
    rate = matrix_product_rate(torch.float32, tokens.device)
    with frozen(model), torch.enable_grad():
        uses, _ = measure_uses(task, sites)
        started = time.perf_counter()
        collect(task, first, columns=slice(0, 1), batch_size=batch, dtype=torch.float32)
        alone = time.perf_counter() - started
    # queries, output and MLP of the last block have one position
    last = f"blocks.{task.adapter.n_layers - 1}."
    once = (f"{last}attn.W_Q", f"{last}attn.b_Q", f"{last}attn.W_O", f"{last}mlp")
    flops = sum(
        gram_flops(site, len(tokens), 1 if site.name.startswith(once) else uses[site.name], 1)
        for site in sites
    )
    return alone, flops, rate


def kernels(model, tokens, budget: int) -> float:
    """Seconds of the blocks of every weight."""
    started = time.perf_counter()
    tl_entk.kernel_blocks(
        model, tokens, "target_logit", lambda name: name.startswith("blocks.") and "[" not in name,
        memory_budget=budget,
    )  # fmt: skip
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("story", "gemma"), default="story")
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--budget", type=float, default=8.0, help="GiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--passes", action="store_true", help="without stages too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.model == "gemma":
        model, tokens = bridge(hugging_face_gemma()), random_tokens(arguments.n, arguments.length)
        model.eval()
    else:
        model = story_model(arguments.length)
        tokens = random_tokens(arguments.n, arguments.length, {**FULL, "vocab_size": 1024})
    budget = int(arguments.budget * 2**30)
    kernels(model, tokens[:4], budget)
    for _ in range(arguments.repeats):
        alone, flops, rate = least_seconds(model, tokens, batch=32)
        ours = kernels(model, tokens, budget)
        least = alone + flops / (0.5 * rate)
        print(
            f"N = {arguments.n}, T = {arguments.length}: {ours:.2f} s; one forward and backward "
            f"pass {alone:.2f} s, {flops / 1e9:.0f} GFLOP of products at half of "
            f"{rate / 1e9:.0f} GFLOP/s {flops / (0.5 * rate):.2f} s: {ours / least:.2f}x of both",
            flush=True,
        )
        if arguments.passes:
            stages, module.find_stages = module.find_stages, lambda *a: []
            again = kernels(model, tokens, budget)
            module.find_stages = stages
            print(f"without stages {again:.2f} s, {again / ours:.2f} times as long", flush=True)


if __name__ == "__main__":
    main()
