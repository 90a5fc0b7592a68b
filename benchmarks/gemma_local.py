"""Time, memory and logits of a full-size random Gemma-3-270M loaded from a local folder.

    python -m benchmarks.gemma_local

Each loading is a process of its own, with its own peak of memory; a minute and 4 GB (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gemma import hugging_face_gemma, random_tokens

CLASSES = ("hooked", "bridge")


def write(folder: Path) -> None:
    """The model in bfloat16, as checkpoints are, with a small tokenizer, and its logits."""
    from tl_entk.language.story_model.train import train_tokenizer

    model = hugging_face_gemma()
    with torch.no_grad():
        # model.to would round the rotary frequencies too, which no file holds
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
        torch.save(model(random_tokens(1, 64)).logits, folder / "logits.pt")
    model.to(torch.bfloat16).save_pretrained(folder)
    train_tokenizer(["Once upon a time there was a dog."]).save_pretrained(folder)


def load(folder: Path, model_class: str) -> None:
    from tl_entk.language.loading import load_language_model

    before, started = peak(), time.perf_counter()
    model = load_language_model(str(folder), model_class).model
    seconds, memory = time.perf_counter() - started, peak()
    with torch.no_grad():
        difference = (model(random_tokens(1, 64)) - torch.load(folder / "logits.pt")).abs().max()
    print(
        f"{model_class}: {seconds:.1f} s, peak {memory:.2f} GB ({before:.2f} before), "
        f"logits differ by {difference:.1e}"
    )


def peak() -> float:
    # getrusage would give the peak of the process that started this one
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--model-class", choices=CLASSES)
    options = parser.parse_args()
    if options.model_class:
        load(options.folder, options.model_class)
        return
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        for model_class in CLASSES:
            command = [sys.executable, "-m", "benchmarks.gemma_local", "--folder", name]
            subprocess.run([*command, "--model-class", model_class], check=True)


if __name__ == "__main__":
    main()
