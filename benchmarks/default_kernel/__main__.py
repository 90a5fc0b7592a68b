"""Measure the candidates in one setting, or choose among what was measured."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.default_kernel import judge as judging
from benchmarks.default_kernel.kernels import candidate_scores
from benchmarks.default_kernel.rivals import rival_scores
from benchmarks.default_kernel.settings import MLP_AND_ATTENTION, SETTINGS, Places
from tl_entk.model.adapters import adapt_transformer


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Judge everything in one setting; figures of all, resamples too, go into one file."""
    started = time.perf_counter()
    out = arguments.out
    places = Places(out, arguments.gemma, arguments.text, arguments.pipeline)
    setting = SETTINGS[name](places)
    model, tokens, k = setting.model, setting.tokens, arguments.k

    def say(done: str) -> None:
        print(f"{name}: {done}, {time.perf_counter() - started:.0f} s", flush=True)

    say(f"{len(tokens)} examples, {len(setting.features.names)} features")
    rivals = rival_scores(model, tokens, k, setting.seed)
    say("baselines")
    candidates = candidate_scores(
        model, tokens, setting.predicted, MLP_AND_ATTENTION, k, arguments.step, say
    )
    numbers = judging.rule_layers(adapt_transformer(model).n_layers)
    figures: dict[str, tuple[float, np.ndarray]] = {}
    rows = []
    for baseline, layers in rivals.items():
        for layer, scores in layers.items():
            method = json.dumps([baseline, layer])
            figures[method] = judging.macro(judging.judge(scores, setting, judging.RESAMPLES))
            rows.append([baseline, layer, judging.validate(scores, setting), method])
    say("baselines judged")
    for candidate, scores in candidates.items():
        named = judging.by_rule(candidate, numbers)
        if judging.drawn_by_layer(candidate):
            named = [candidate, *named]
        if named:
            found = judging.macro(judging.judge(scores, setting, judging.RESAMPLES))
            figures |= {json.dumps(one): found for one in named}
    say(f"{len(candidates)} candidates judged")
    folder = out / "default-kernel"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **{key: resampled for key, (_, resampled) in figures.items()})
    values = {key: value for key, (value, _) in figures.items()}
    (folder / f"{name}.json").write_text(json.dumps({"baselines": rows, "figures": values}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", default=list(SETTINGS), help="names of settings")
    parser.add_argument("--gemma", help="GGUF file of Gemma-3-270M")
    parser.add_argument("--text", help="folder or file of stories")
    parser.add_argument("--pipeline", help="spaCy pipeline")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--k", type=int, default=25)
    parser.add_argument("--step", type=int, default=18, help="layers held at once")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    for name in arguments.settings:
        measure(name, arguments)


if __name__ == "__main__":
    main()
