"""Kernel blocks of every weight, against the plain jacrev twin, in one run.

    python benchmarks/kernel_blocks.py [--p 29] [--model-class hooked|bridge] [--repeats 3]

Both work on the same modular-addition Transformer and the same p^2 inputs (841 for p = 29), each
in a process of its own, in turn, so that times share the machine's mood and peak memory is each
one's own. The twin computes explicit per-example Jacobians with torch.func (vmap of jacrev) and
multiplies them: the plainest exact way. The results are compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tl_entk
from tl_entk.experiments import ModularSettings, build_model, modular_data
from tl_entk.model.classes import default_model_class

READOUTS = {"mean_logit": lambda z: z.mean(-1, keepdim=True), "class_trace": lambda z: z}


def whole_weights(name: str) -> bool:
    return "[" not in name and ".b_" not in name


def ours(model, tokens, readout):
    return dict(tl_entk.kernel_blocks(model, tokens, readout, whole_weights))


def twin(model, tokens, readout):
    """K_b = (1 / R) J_b J_b^T with J_b the explicit Jacobian of every example."""
    from tl_entk.model.adapters import adapt

    names = {
        id(site.parameter): site.name for site in adapt(model).sites if whole_weights(site.name)
    }
    parameters = {k: p.detach() for k, p in model.named_parameters() if id(p) in names}
    named = {k: names[id(p)] for k, p in model.named_parameters() if id(p) in names}

    def outputs(values, example):
        logits = torch.func.functional_call(model, values, (example[None],), tie_weights=False)
        return READOUTS[readout](logits[0, -1])

    jacobian = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0), chunk_size=64)
    dense = jacobian(parameters, tokens)
    blocks = {}
    for key in list(dense):
        j = dense.pop(key)
        scale = 1 / j.shape[1]
        j = j.flatten(1)
        blocks[named[key]] = scale * (j @ j.T)
    return blocks


def child(arguments) -> None:
    """One measurement: seconds of the computation alone, peak memory, and the kernels."""
    warnings.simplefilter("ignore")
    settings = ModularSettings(p=arguments.p)
    model = build_model(settings, arguments.model_class)
    tokens = modular_data(settings).tokens
    small = tokens[:8]
    way = {"ours": ours, "twin": twin}[arguments.child]
    way(model, small, arguments.readout)  # first calls set up libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    blocks = way(model, tokens, arguments.readout)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    save_file({name: block.contiguous() for name, block in blocks.items()}, arguments.kernels)
    print(json.dumps({"seconds": seconds, "peak": peak / 2**20, "added": (peak - before) / 2**20}))


def measure(arguments, way: str, readout: str, kernels: Path) -> dict:
    command = [
        sys.executable, __file__, "--child", way, "--readout", readout, "--p", str(arguments.p),
        "--model-class", arguments.model_class, "--kernels", str(kernels),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p", type=int, default=29)
    parser.add_argument("--model-class", default=default_model_class())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readout")
    parser.add_argument("--child")
    parser.add_argument("--kernels")
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments)
    print(
        f"{arguments.model_class}, N = {arguments.p**2}, {arguments.p + 1} classes, "
        f"{torch.get_num_threads()} threads, {arguments.repeats} pairs, medians"
    )
    with tempfile.TemporaryDirectory() as folder:
        for readout in READOUTS:
            runs: dict[str, list[dict]] = {"ours": [], "twin": []}
            paths = {way: Path(folder) / f"{way}.safetensors" for way in runs}
            for _ in range(arguments.repeats):
                for way, found in runs.items():
                    found.append(measure(arguments, way, readout, paths[way]))
            mine, theirs = (load_file(path) for path in paths.values())
            error = max(
                float((mine[n] - theirs[n]).abs().max() / theirs[n].abs().max()) for n in theirs
            )
            middle = {
                way: {k: statistics.median(run[k] for run in found) for k in found[0]}
                for way, found in runs.items()
            }
            ratios = [
                b["seconds"] / a["seconds"] for a, b in zip(runs["ours"], runs["twin"], strict=True)
            ]
            for way, found in middle.items():
                print(
                    f"{readout:12s} {way}: {found['seconds']:7.2f} s, peak {found['peak']:5.2f} "
                    f"GiB ({found['added']:.2f} GiB more than at rest)"
                )
            print(
                f"{readout:12s} twin / ours: {statistics.median(ratios):.1f}x (pairs: "
                f"{', '.join(f'{r:.1f}' for r in ratios)}), largest relative difference "
                f"{error:.1e}\n"
            )
    return None


if __name__ == "__main__":
    main()
