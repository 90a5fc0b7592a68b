"""Trains the embedded pipeline on UD English EWT: ``python -m feature_sets.english.train``.

About half an hour on one core. The treebank is not part of this project; get it from
https://github.com/UniversalDependencies/UD_English-EWT.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.cli.train import train
from spacy.tokens import DocBin

from feature_sets.english.treebank import Sentence, documents_of, read_conllu, with_names

HERE = Path(__file__).parent
LICENCE = "CC BY-SA 4.0"


def main() -> None:
    """Prepare the data, train, add the rule for white space, write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--treebank", type=Path, required=True, help="folder of en_ewt-ud-*.conllu")
    parser.add_argument("--out", type=Path, default=HERE / "pipeline")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        train_file, dev_file = prepare(options.treebank, work, options.seed)
        overrides = {
            "paths.train": str(train_file),
            "paths.dev": str(dev_file),
            "system.seed": options.seed,
        }
        train(HERE / "config.cfg", work / "out", overrides=overrides)
        finish(work / "out" / "model-best", options.out)


def prepare(treebank: Path, work: Path, seed: int) -> tuple[Path, Path]:
    """The training and development parts as spaCy's binary files."""
    names = (HERE / "names.txt").read_text(encoding="utf-8").split()
    rng = random.Random(seed)
    documents = read_conllu(treebank / "en_ewt-ud-train.conllu")
    documents += [with_names(sentences, names, rng) for sentences in documents]
    held_out = read_conllu(treebank / "en_ewt-ud-dev.conllu")
    return _write(documents, work / "train.spacy"), _write(held_out, work / "dev.spacy")


def _write(documents: Sequence[Sequence[Sentence]], path: Path) -> Path:
    DocBin(docs=documents_of(spacy.blank("en").vocab, documents), store_user_data=False).to_disk(
        path
    )
    return path


def finish(trained: Path, out: Path) -> None:
    """Write the trained pipeline with a rule for white space and what it is made from."""
    nlp = spacy.load(trained)
    # newlines are tokens of their own, which a treebank of sentences has none of
    ruler: Any = nlp.add_pipe("attribute_ruler", last=True)
    ruler.add([[{"IS_SPACE": True}]], {"POS": "SPACE", "TAG": "_SP", "MORPH": "_"})
    nlp.meta.update(
        name="ewt_tl_entk",
        version="0.1.0",
        description="Small English pipeline of tl_entk, trained on UD English EWT 2.16.",
        license=LICENCE,
        author="the tl_entk authors",
        url="",
        email="",
    )
    # files of the training that are gone
    nlp.config["paths"].update(train=None, dev=None)
    nlp.to_disk(out)


if __name__ == "__main__":
    main()
