"""Latents of a sparse autoencoder (SAELens) beside eigendirections, on the embedded story model.

    python -m benchmarks.sparse_autoencoders TinyStories.txt [--seeds 5] [--layer 3] [--out runs]

For every seed: windows and labels as `tl-entk language` makes them without options, and a TopK
autoencoder trained on the residual stream after one layer, at every position of the text. Windows
are of stories that the model writes. Needs sae-lens, so TransformerLens 3.9.
Layer, size and training were set before any figure was seen.
"""

from __future__ import annotations

import argparse
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import tl_entk
from feature_sets import load_pipeline
from tl_entk.experiments.language.data import language_data
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.experiments.seeds import mean_over_seeds
from tl_entk.model.adapters import adapt_transformer

K, WIDTH, ACTIVE = 25, 640, 16
BATCH, SAMPLES = 512, 512 * 1000
SAE, FULL = "SAE", "SAE, all latents"
PLAIN = ("residual x unembedding", "predicted unembedding")
# method to its figure with every seed
Figures = dict[str, list[float]]


def training_states(loaded, layer: int, text: Path) -> torch.Tensor:
    """Residual stream at every position of a text, in rows of the model's context."""
    hook = f"blocks.{layer}.hook_resid_post"
    context = adapt_transformer(loaded.model).context
    tokens = torch.tensor(loaded.tokenizer(text.read_text(encoding="utf-8"))["input_ids"])
    rows = tokens[: len(tokens) // context * context].view(-1, context)
    found = []
    for batch in rows.split(16):
        with torch.no_grad():
            _, cache = loaded.model.run_with_cache(
                batch, names_filter=hook, stop_at_layer=layer + 1
            )
        found.append(cache[hook].flatten(0, 1))
    return torch.cat(found)


def shuffled(states: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    """Batches without end, every state once before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(states), generator=generator)
        yield from (states[rows] for rows in order.split(BATCH) if len(rows) == BATCH)


def load_autoencoder(states: Callable[[], torch.Tensor], layer: int, seed: int, folder: Path):
    """A TopK autoencoder by SAELens, trained unless the folder has it."""
    import sae_lens

    if not folder.exists():
        train_autoencoder(states(), layer, seed).save_inference_model(str(folder))
    return sae_lens.SAE.load_from_disk(str(folder))


def train_autoencoder(states: torch.Tensor, layer: int, seed: int):
    """A TopK autoencoder, by SAELens' trainer."""
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(seed)
    configuration = sae_lens.TopKTrainingSAEConfig(
        d_in=states.shape[1],
        d_sae=WIDTH,
        k=ACTIVE,
        normalize_activations="expected_average_only_in",
        metadata=SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post", model_name="stories"),
    )
    settings = SAETrainerConfig(
        total_training_samples=SAMPLES,
        train_batch_size_samples=BATCH,
        lr=1e-3,
        lr_end=1e-4,
        lr_decay_steps=300,
        dead_feature_window=200,
        n_batches_for_norm_estimate=50,
        logger=LoggingConfig(log_to_wandb=False),
    )
    sae = sae_lens.TopKTrainingSAE(configuration)
    return sae_lens.SAETrainer(cfg=settings, sae=sae, data_provider=shuffled(states, seed)).fit()


def judge(loaded, nlp, states, layer: int, seed: int, out: Path):
    """Probes and best directions of every method with one seed."""
    windows = out / f"windows-{seed}"
    windows.mkdir(exist_ok=True)
    data = language_data(LanguageSettings(seed=seed), loaded, nlp, windows)
    sae = load_autoencoder(states, layer, seed, out / f"autoencoder-{layer}-{seed}")
    model, tokens = loaded.model, data.windows.tokens
    latents = tl_entk.sae_scores(model, tokens, sae)
    print(f"seed {seed}: {len(data.features)} labels\n{latents}")
    found = tl_entk.baseline_scores(model, tokens, K, PLAIN, layers=[layer])
    plain = {name: scores for name in PLAIN for scores in found[name].values()}
    eigen = tl_entk.default_directions(model, tokens, K)
    activations = data.activations[str(layer)]
    table = tl_entk.compare(
        eigen, data.features, activations, seed=seed, baselines={SAE: latents, **plain}
    )
    columns = {
        "eNTK": eigen.scores,
        "PCA": tl_entk.pca_scores(activations, K),
        "standardized PCA": tl_entk.pca_scores(activations, K, standardize=True),
        SAE: latents.scores[:, :K],
        FULL: latents.scores,
        **plain,
    }
    single = {
        name: tl_entk.best_directions(scores, data.features, seed=seed, n_permutations=0)
        for name, scores in columns.items()
    }
    return table, single


def print_mean(title: str, figures: Figures) -> None:
    """Mean over the seeds with its 95 % interval, and paired differences to three methods."""
    seeds, others = len(figures[SAE]), (SAE, FULL, PLAIN[0])
    heads = "".join(f" less {other} |" for other in others)
    print(f"\n| {title}, {seeds} seeds | macro AP |{heads}\n|{'---|' * (2 + len(others))}")
    for name, values in figures.items():
        gaps = [
            "" if name == other else interval(np.subtract(values, figures[other]), "+")
            for other in others
        ]
        print(f"| {name} | {interval(np.array(values))} | {' | '.join(gaps)} |")


def interval(values: np.ndarray, sign: str = "") -> str:
    """Mean and t interval over seeds."""
    found = mean_over_seeds(values.tolist())
    return f"{found.value:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    loaded, nlp = tl_entk.load_language_model("stories"), load_pipeline()
    states = functools.cache(lambda: training_states(loaded, arguments.layer, arguments.text))
    probes: defaultdict[str, Figures] = defaultdict(lambda: defaultdict(list))
    directions: Figures = defaultdict(list)
    for seed in range(arguments.seeds):
        table, single = judge(loaded, nlp, states, arguments.layer, seed, arguments.out)
        families = dict.fromkeys(row.family for row in table.rows)
        for basis in table.bases:
            for family in (None, *families):
                found = table.macro(basis, family=family).value
                probes[family or "all labels"][basis].append(found)
            print(f"probe from {basis}: {table.macro(basis)}")
        for name, best in single.items():
            directions[name].append(best.macro().value)
            print(f"best of {best.k} of {name}: {best.macro()}", flush=True)
    for family, figures in probes.items():
        print_mean(f"probes, {family}", figures)
    print_mean("best single direction", directions)


if __name__ == "__main__":
    main()
