"""What a run's files were computed from: other inputs under the same names make them anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language

from feature_sets.errors import UserError
from feature_sets.pipelines import describe
from feature_sets.warn import warn_user
from tl_entk.language.loading import LanguageModel
from tl_entk.tools.files import read_kept, write_kept
from tl_entk.tools.locks import LOCK

INPUTS = "inputs.json"
WINDOWS = "windows.safetensors"
# the states that windows have, beside the windows
STATES = "states.safetensors"
# what the model says after windows that were tried, while there are no windows yet
NEXT_WORDS = "next_words.safetensors"
# what was judged, in a folder
JUDGED = "judged"
# what steps along directions did, in a folder
CAUSAL = "causal"


def fingerprint(model: LanguageModel, nlp: Language, dataset: str) -> dict[str, Any]:
    """Hashes of weights and tokenizer, the pipeline, and the state of local text files.

    Args:
        model: model and tokenizer.
        nlp: the pipeline that labels.
        dataset: as the user named it; of a local file or folder, sizes and times count.
    """
    vocabulary = json.dumps(model.tokenizer.get_vocab(), sort_keys=True)
    return {
        "weights": weights_hash(model.model),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest()[:16],
        "pipeline": describe(nlp),
        "text": _states_of_files(Path(dataset).expanduser()),
    }


def weights_hash(model: torch.nn.Module) -> str:
    """Sixteen digits that differ where any parameter does.

    Example:
        >>> a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        >>> weights_hash(a) == weights_hash(a), weights_hash(a) == weights_hash(b)
        (True, False)
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        # bytes, since numpy has no bfloat16
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _states_of_files(path: Path) -> list[tuple[str, int, int]] | None:
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        return None
    return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]


def discard_stale_results(folder: Path, found: dict[str, Any]) -> None:
    """Clear a run's folder of what was computed from other inputs, with a warning.

    Args:
        folder: of the run.
        found: from :func:`fingerprint`.
    """
    path = folder / INPUTS
    # tuples are lists once they are read back
    found = json.loads(json.dumps(found))
    try:
        kept = read_kept(path) if path.exists() else found
    except UserError:  # damaged, or of another version: whatever is there may be so too
        kept = {}
    changed = [name for name, value in found.items() if kept.get(name) != value]
    if changed:
        warn_user(
            f"{', '.join(changed)} changed since {folder.name} was computed: computing it anew."
        )
        for old in (WINDOWS, "sampled_stories.json", STATES, NEXT_WORDS):
            (folder / old).unlink(missing_ok=True)
        for pattern in ("kernels-*", JUDGED, CAUSAL):
            for computed in folder.glob(pattern):
                shutil.rmtree(computed)
    write_kept(path, found)


@contextmanager
def forget_folder_without_results(folder: Path) -> Iterator[None]:
    """Around the first result of a run: where it fails, no folder is left that has none.

    Args:
        folder: of the run.
    """
    try:
        yield
    except Exception:
        if {path.name for path in folder.iterdir()} <= {INPUTS, LOCK}:
            shutil.rmtree(folder)
        raise
