"""Train the embedded story model: ``python -m tl_entk.language.story_model.train --text FILE``.

About an hour and a half on one core. The text is not part of this project; get it from
https://huggingface.co/datasets/roneneldan/TinyStories. An interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from transformers import Gemma3ForCausalLM, PreTrainedTokenizerFast

from tl_entk.language.story_model.architecture import (
    BOS,
    CONTEXT,
    EOS,
    PAD,
    VOCABULARY,
    WEIGHTS,
    story_config,
)
from tl_entk.language.story_model.stories import read_stories, split_stories
from tl_entk.tools.files import read_tensors, write_json, write_tensors

_STATE = "story model training"


@dataclass(frozen=True)
class Recipe:
    """How the model is trained.

    Attributes:
        steps: optimizer steps, of ``rows`` rows of ``CONTEXT`` tokens.
        warmup: steps of rising learning rate; it falls to zero over the last half.
        dropout: of embeddings, attention outputs and MLP outputs.
        merge_dropout: share of byte-pair merges left out when the text is split anew.
        average: decay of the running average of the weights, which is what is kept.
    """

    steps: int = 2300
    rows: int = 16
    warmup: int = 200
    matrix_rate: float = 3e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    merge_dropout: float = 0.05
    average: float = 0.998
    seed: int = 0


def train_tokenizer(stories: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding; words carry their leading space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, EOS, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def stream(tokenizer: PreTrainedTokenizerFast, stories: Sequence[str]) -> Tensor:
    """All stories in one row of token numbers, each ended by <eos>."""
    found = tokenizer.backend_tokenizer.encode_batch(list(stories), add_special_tokens=False)
    eos = tokenizer.eos_token_id
    return torch.tensor([token for story in found for token in (*story.ids, eos)])


class Batches:
    """Rows of <bos> and a random piece of the stream, which is split and shuffled anew each time.

    A piece may begin anywhere, as a context window does; a story begins after <eos>.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, stories: Sequence[str], recipe: Recipe, skip: int
    ) -> None:
        self.tokenizer = tokenizer
        self.stories = list(stories)
        self.recipe = recipe
        self.rng = random.Random(recipe.seed + 7919 * skip)

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            self.rng.shuffle(self.stories)
            self.tokenizer.backend_tokenizer.model.dropout = self.recipe.merge_dropout
            tokens = stream(self.tokenizer, self.stories)
            self.tokenizer.backend_tokenizer.model.dropout = None
            length = CONTEXT - 1
            starts = list(range(self.rng.randrange(length), len(tokens) - length, length))
            self.rng.shuffle(starts)
            for first in range(0, len(starts) - self.recipe.rows + 1, self.recipe.rows):
                chosen = starts[first : first + self.recipe.rows]
                rows = torch.stack([tokens[s : s + length] for s in chosen])
                bos = torch.full((len(rows), 1), self.tokenizer.bos_token_id)
                yield torch.cat([bos, rows], 1)


def loss_of(model: nn.Module, rows: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of each row's tokens after the first two, in nats a token."""
    logits = model(rows[:, :-1]).logits[:, 1:]
    return cross_entropy(logits.flatten(0, 1), rows[:, 2:].flatten(), reduction=reduction)


@torch.no_grad()
def held_out_loss(model: nn.Module, rows: Tensor) -> float:
    """Nats a token."""
    model.eval()
    total = sum(float(loss_of(model, part, reduction="sum")) for part in rows.split(32))
    model.train()
    return total / (len(rows) * (rows.shape[1] - 2))


def add_dropout(model: Any, rate: float) -> list[Any]:
    """Dropout of the embedding and of every block's two outputs, where Gemma 3 has none."""

    def drop(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return dropout(output, rate, module.training)

    places = [model.model.embed_tokens]
    for layer in model.model.layers:
        places += [layer.self_attn.o_proj, layer.mlp.down_proj]
    return [place.register_forward_hook(drop) for place in places]


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    norms = [p for p in model.parameters() if p.ndim == 1]
    embedding = [p for n, p in model.named_parameters() if "embed" in n]
    return [
        torch.optim.Muon(
            matrices,
            lr=recipe.matrix_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [
                {"params": embedding, "weight_decay": recipe.weight_decay},
                {"params": norms, "weight_decay": 0.0},
            ],
            lr=recipe.other_rate,
            betas=(0.9, 0.98),
        ),
    ]


def rate(step: int, recipe: Recipe) -> float:
    """Share of the full learning rate: a rise, a plateau, a straight fall over the last half."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * min(1.0, 2 * (recipe.steps - step) / recipe.steps)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with a prefix and a dot, by the rest of their names."""
    start = f"{prefix}."
    found = {name: value for name, value in tensors.items() if name.startswith(start)}
    return {name.removeprefix(start): value for name, value in found.items()}


class Run:
    """Model, average, optimizers and log of a training, kept on disk to be taken up again."""

    def __init__(self, recipe: Recipe, state: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.state = state
        self.model = Gemma3ForCausalLM(story_config())
        self.hooks = add_dropout(self.model, recipe.dropout)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)
        )
        self.optimizers = optimizers(self.model, recipe)
        self.rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.step = 0
        self.log: list[dict[str, float]] = []
        if state.exists():
            _, tensors, kept = read_tensors(state, _STATE)
            self._parts().load_state_dict(_below("parts", tensors))
            for index, optimizer in enumerate(self.optimizers):
                values = optimizer.state_dict()
                values["state"] = {
                    number: _below(f"optimizer.{index}.{number}", tensors)
                    for group in values["param_groups"]
                    for number in group["params"]
                }
                optimizer.load_state_dict(values)
            self.step, self.log = kept["step"], kept["log"]
            torch.manual_seed(recipe.seed + self.step)

    def _parts(self) -> nn.ModuleDict:
        return nn.ModuleDict({"model": self.model, "average": self.average})

    def save(self) -> None:
        """Write everything needed to go on."""
        tensors = {f"parts.{name}": value for name, value in self._parts().state_dict().items()}
        for index, optimizer in enumerate(self.optimizers):
            for number, values in optimizer.state_dict()["state"].items():
                prefix = f"optimizer.{index}.{number}"
                tensors |= {f"{prefix}.{name}": value for name, value in values.items()}
        write_tensors(self.state, tensors, kind=_STATE, about={"step": self.step, "log": self.log})

    def advance(self, rows: Tensor) -> float:
        """One optimizer step; returns its loss."""
        share = rate(self.step, self.recipe)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, full in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = full * share
        loss = loss_of(self.model, rows)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.average.update_parameters(self.model)
        self.step += 1
        return loss.item()


def main() -> None:
    """Train the tokenizer and the model, and write both in Hugging Face's format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--state", type=Path, required=True, help="folder of the unfinished run")
    for name, default in vars(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = vars(parser.parse_args())
    recipe = Recipe(**{name: options[name] for name in vars(Recipe())})
    stories = [story for path in options["text"] for story in read_stories(path)]
    training, held_out = split_stories(stories)
    tokenizer = train_tokenizer(training)
    options["state"].mkdir(parents=True, exist_ok=True)
    run = Run(recipe, options["state"] / "state.pt")
    length = CONTEXT - 1
    tokens = stream(tokenizer, held_out)
    rows = tokens[: len(tokens) // length * length].view(-1, length)
    test = torch.cat([torch.full((len(rows), 1), tokenizer.bos_token_id), rows], 1)
    characters = sum(map(len, held_out)) / len(tokens)
    print(f"{len(training)} stories, {len(held_out)} held out, {characters:.2f} characters a token")
    started, first = time.perf_counter(), run.step
    mean = math.nan
    for batch in Batches(tokenizer, training, recipe, run.step):
        if run.step >= recipe.steps:
            break
        loss = run.advance(batch)
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        if run.step % 250 == 0 or run.step == recipe.steps:
            value = held_out_loss(run.average.module, test)
            run.log.append({"step": run.step, "train": mean, "held_out": value})
            spent = time.perf_counter() - started
            left = spent / (run.step - first) * (recipe.steps - run.step)
            print(
                f"step {run.step}: train {mean:.3f}, held out {value:.3f} nats a token, "
                f"{spent:.0f} s, {left:.0f} s left",
                flush=True,
            )
            run.save()
    for hook in run.hooks:
        hook.remove()
    finish(run, tokenizer, test, characters, options["out"])


def finish(
    run: Run, tokenizer: PreTrainedTokenizerFast, test: Tensor, characters: float, out: Path
) -> None:
    """Write the averaged weights in bfloat16 and what was measured of them."""
    average: Any = run.average.module
    average.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    # read back: what is judged is what is kept
    model = Gemma3ForCausalLM.from_pretrained(out, dtype=torch.float32)
    loss = held_out_loss(model, test)
    found: dict[str, Any] = {
        "recipe": vars(run.recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out_nats_per_token": loss,
        "characters_per_token": characters,
        "held_out_bits_per_character": loss / characters / math.log(2),
        "log": run.log,
    }
    write_json(out / "training.json", found)
    print(json.dumps({key: value for key, value in found.items() if key != "log"}, indent=1))


if __name__ == "__main__":
    main()
