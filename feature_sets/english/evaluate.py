"""Scores of a pipeline on EWT's test part, and on given names in stories.

``python -m feature_sets.english.evaluate --treebank FOLDER --stories FILE ...`` prints them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.training import Example

from feature_sets.english.treebank import documents_of, read_conllu
from feature_sets.pipelines import EMBEDDED_FOLDER
from feature_sets.text_files import SEPARATOR

HERE = Path(__file__).parent
_NAMED = re.compile(r"\bnamed ([A-Z][a-z]+)\b")


def treebank_scores(nlp: Language, path: Path) -> dict[str, float]:
    """Scores by spaCy on raw text (its own tokenizer), in per cent."""
    gold = list(documents_of(nlp.vocab, read_conllu(path)))
    found = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in gold])
    keys = ("token_f", "pos_acc", "morph_acc", "tag_acc", "lemma_acc", "dep_uas", "dep_las")
    scores = {key: round(100 * found[key], 2) for key in keys if found.get(key) is not None}
    features = found.get("morph_per_feat") or {}
    return scores | {f"{name} F": round(100 * v["f"], 1) for name, v in sorted(features.items())}


def name_scores(nlp: Language, stories: Sequence[str], listed: set[str]) -> dict[str, float]:
    """Share of given names that are tagged PROPN, in per cent.

    A given name of a story is a capitalized word that follows "named"; every capitalized
    occurrence of it in that story counts.

    Args:
        nlp: the pipeline.
        stories: texts.
        listed: the names that the training text was augmented with.
    """
    right: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for doc in nlp.pipe(stories):
        names = set(_NAMED.findall(doc.text))
        for token in doc:
            if token.text not in names:
                continue
            part = "listed" if token.text in listed else "not listed"
            for key in (part, "all"):
                tried[key] += 1
                right[key] += token.pos_ == "PROPN"
            if token.pos_ != "PROPN":
                wrong[f"{token.text}/{token.pos_}"] += 1
    print("most frequent errors:", wrong.most_common(12))
    shares = {
        f"names PROPN, {key}": round(100 * right[key] / n, 2) for key, n in sorted(tried.items())
    }
    return shares | {f"names, {key}": n for key, n in sorted(tried.items())}


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", type=Path, default=EMBEDDED_FOLDER)
    parser.add_argument("--treebank", type=Path, required=True)
    parser.add_argument("--stories", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    nlp = spacy.load(options.pipeline)
    scores = treebank_scores(nlp, options.treebank / "en_ewt-ud-test.conllu")
    listed = set((HERE / "names.txt").read_text(encoding="utf-8").split())
    texts = [
        story
        for path in options.stories
        for story in path.read_text(encoding="utf-8").split(SEPARATOR)
    ]
    if texts:
        scores |= name_scores(nlp, texts, listed)
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
