"""Measure candidates and baselines, setting by setting."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.default_kernel import judge as judging
from benchmarks.default_kernel.kernels import Candidate, candidate_scores
from benchmarks.default_kernel.rivals import rival_scores
from benchmarks.default_kernel.settings import MLP_AND_ATTENTION, SETTINGS, Places, Setting
from tl_entk.model.adapters import adapt_transformer

# key to figure and its resamples
Figures = dict[str, tuple[float, np.ndarray]]
# told apart in files: what baselines and candidates are
VERSION = 2


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Judge everything in one setting; figures of all, resamples too, go into one file."""
    started = time.perf_counter()
    out, k = arguments.out, arguments.k
    places = Places(out, arguments.gemma, arguments.text, arguments.pipeline)
    setting = SETTINGS[name](places)
    folder = out / "default-kernel"
    folder.mkdir(parents=True, exist_ok=True)

    def say(done: str) -> None:
        print(f"{name}: {done}, {time.perf_counter() - started:.0f} s", flush=True)

    say(f"{len(setting.tokens)} examples, {len(setting.features.names)} features")
    rows, figures = judge_rivals(setting, k)
    say("baselines judged")
    if arguments.baselines_only:
        figures = read_candidates(folder / f"{name}.json") | figures
    else:
        figures |= judge_candidates(setting, k, arguments.step, say)
    about = {"version": VERSION, "k": k, "examples": len(setting.tokens), "seed": setting.seed}
    np.savez(folder / f"{name}.npz", **{key: resampled for key, (_, resampled) in figures.items()})
    values = {key: value for key, (value, _) in figures.items()}
    written = {"about": about, "baselines": rows, "figures": values}
    (folder / f"{name}.json").write_text(json.dumps(written))
    say(f"{len(figures)} figures")


def judge_rivals(setting: Setting, k: int) -> tuple[list[list], Figures]:
    """Baseline, layer, figure within the train half and key of each; and key to figure."""
    rows, figures = [], {}
    for baseline, layers in rival_scores(setting.model, setting.tokens, k, setting.seed).items():
        for layer, scores in layers.items():
            key = json.dumps([baseline, layer])
            figures[key] = judging.macro(judging.judge(scores, setting, judging.RESAMPLES))
            rows.append([baseline, layer, judging.validate(scores, setting), key])
    return rows, figures


def judge_candidates(setting: Setting, k: int, step: int, say: Callable[[str], None]) -> Figures:
    """Key to figure of every candidate whose layer a rule names, or that the figure shows."""
    model, tokens = setting.model, setting.tokens
    found = candidate_scores(model, tokens, setting.predicted, MLP_AND_ATTENTION, k, step, say)
    numbers = judging.rule_layers(adapt_transformer(model).n_layers)
    figures: Figures = {}
    for candidate, scores in found.items():
        named = judging.by_rule(candidate, numbers)
        if judging.drawn_by_layer(candidate):
            named = [candidate, *named]
        if named:
            figure = judging.macro(judging.judge(scores, setting, judging.RESAMPLES))
            figures |= {json.dumps(one): figure for one in named}
    return figures


def read_candidates(path: Path) -> Figures:
    """Figures of candidates that were measured before."""
    values = json.loads(path.read_text())["figures"]
    with np.load(path.with_suffix(".npz")) as resampled:
        return {
            key: (value, resampled[key])
            for key, value in values.items()
            if len(json.loads(key)) == len(Candidate._fields)
        }


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
    parser.add_argument(
        "--baselines-only", action="store_true", help="keep the candidates measured before"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    for name in arguments.settings:
        measure(name, arguments)


if __name__ == "__main__":
    main()
