"""Where a language model's files are: a local folder, or a download from the hub, checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from feature_sets.errors import UserError
from feature_sets.network import hub_answers
from tl_entk.tools.errors import first_line

# besides the weights; files of subfolders (other formats) are left out
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_OLD_WEIGHTS = ["pytorch_model*.bin"]
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class ModelFolder:
    """A complete folder in Hugging Face's format: configuration, weights, tokenizer.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def quantization(self) -> str | None:
        """None: what is loaded from here is not dequantized."""
        return None

    @property
    def float32_bytes(self) -> int:
        """Size of the weights once they are in float32, from the files' headers."""
        from safetensors import safe_open

        numbers = 0
        for path in _weight_files(self.path):
            if path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
                numbers += sum(torch.Size(shape).numel() for shape in shapes)
            else:
                numbers += path.stat().st_size // _stored(self.path).itemsize
        return 4 * numbers

    @property
    def load_bytes(self) -> int:
        """Memory that loading takes as a bridge (benchmarks/gemma_local.py)."""
        return round(1.2 * self.float32_bytes)

    def load_config(self) -> Any:
        """Hugging Face's configuration of the model.

        Raises:
            UserError: if transformers do not know the model.
        """
        try:
            return AutoConfig.from_pretrained(self.path)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{self.path / 'config.json'} is of no model that Hugging Face's transformers know "
                f"({first_line(error)}): pass a causal language model."
            ) from error

    def load_model(self, config: Any) -> Any:
        """Hugging Face's model in float32.

        Args:
            config: from ``load_config``.

        Raises:
            UserError: if weights are missing.
        """
        kind: Any = AutoModelForCausalLM
        model, found = kind.from_pretrained(
            self.path,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])[:3]
            raise UserError(f"the weights in {self.path} lack {missing}.")
        return model

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            UserError: if it cannot be loaded.
        """
        try:
            return AutoTokenizer.from_pretrained(self.path)
        except Exception as error:  # each tokenizer has errors of its own
            raise UserError(
                f"the tokenizer in {self.path} cannot be loaded ({first_line(error)}): write it "
                "anew with tokenizer.save_pretrained(folder)."
            ) from error


def official_name(name: str) -> str:
    """The hub's name of a model that TransformerLens knows by an alias, else the name itself.

    Example:
        >>> official_name("gemma-3-270m"), official_name("me/mine")
        ('google/gemma-3-270m', 'me/mine')
    """
    from transformer_lens.supported_models import MODEL_ALIASES

    for official, aliases in MODEL_ALIASES.items():
        if name.lower() in (official.lower(), *(alias.lower() for alias in aliases)):
            return official
    return name


def find_folder(name: str) -> ModelFolder:
    """A complete folder in Hugging Face's format: the one named, or the hub model's download.

    A model that is in the local cache is taken from there, without asking the hub.

    Args:
        name: a folder, or a model's name on the hub.

    Raises:
        OSError: if there is no such folder or model, no network, or no permission.
        UserError: if config.json, weights or tokenizer are missing; names them.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise FileNotFoundError(
                f"there is no folder {name}: pass a folder in Hugging Face's format "
                "(config.json, model.safetensors, tokenizer.json), or a model's name on the hub."
            )
        path = _cached(name) or _download(name)
    missing = _missing(path)
    if missing:
        raise UserError(
            f"{name} has no {missing}: tl-entk loads models in Hugging Face's format; write one "
            "with model.save_pretrained(folder) and tokenizer.save_pretrained(folder)."
        )
    return ModelFolder(path)


def check_memory(name: str, needed: int) -> None:
    """Refuse a model that memory has no room for, before it is loaded.

    Args:
        name: for the message.
        needed: bytes.

    Raises:
        UserError: names both numbers.

    Example:
        >>> check_memory("a small model", 10**6)
    """
    available = psutil.virtual_memory().available
    if needed > available:
        raise UserError(
            f"{name} needs about {needed / 1e9:.1f} GB of memory in float32 and "
            f"{available / 1e9:.1f} GB are free: close other programs, take a smaller model, or a "
            "machine with more memory (the bridge takes less than a HookedTransformer: pass "
            "--model-class bridge)."
        )


def _stored(folder: Path) -> torch.dtype:
    """The number format that config.json says of the weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), torch.float32)


def _missing(folder: Path) -> str | None:
    """What a folder lacks of a model, or None."""
    if not (folder / "config.json").is_file():
        return "config.json"
    files = list(_weight_files(folder))
    if not files:
        return " or ".join(_SINGLE)
    for path in files:
        if not path.is_file():
            return path.name
    if not any((folder / file).is_file() for file in _TOKENIZER):
        return "tokenizer (" + ", ".join(_TOKENIZER[:2]) + ", ...)"
    return None


def _weight_files(folder: Path) -> Iterator[Path]:
    """The files of the weights, in the format that Hugging Face would take."""
    for single in _SINGLE:
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            yield folder / single
            return
        if index.is_file():
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            yield from (folder / shard for shard in sorted(set(shards)))
            return


def _cached(name: str) -> Path | None:
    """The hub's local snapshot of a model, if all that is needed is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError as error:
        raise FileNotFoundError(f"{name!r} is neither a folder nor a model's name.") from error
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return None if _missing(folder) else folder


def _download(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise FileNotFoundError(
            f"{name} is neither a folder nor in the local cache, and HF_HUB_OFFLINE is set: unset "
            "it for the download, or pass a local folder."
        )
    _check_network(constants.ENDPOINT, name)
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES, ignore_patterns=["*/*"]))
        if not list(_weight_files(folder)):
            # the old format only where there is no other: some repositories hold both
            patterns = _FILES + _OLD_WEIGHTS
            folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
        return folder
    except Exception as error:  # errors of the transport are no OSError
        # the hub's client may wrap what the server answered
        for reason in (error, error.__cause__):
            status = getattr(getattr(reason, "response", None), "status_code", None)
            unknown = isinstance(reason, RepositoryNotFoundError)
            if isinstance(reason, GatedRepoError) or (status in (401, 403) and not unknown):
                raise PermissionError(
                    f"{name} is a gated model: accept the licence on its page "
                    f"({constants.ENDPOINT}/{name}) and log in with `hf auth login`, or pass a "
                    "local folder."
                ) from error
            if unknown:
                raise FileNotFoundError(
                    f"there is no folder and no public model {name}: check the name, log in with "
                    "`hf auth login` if it is private, or pass a local folder."
                ) from error
            if isinstance(reason, HfHubHTTPError):
                break
        raise OSError(
            f"the download of {name} failed ({first_line(error)}): try again (what was downloaded "
            "is kept), or pass a local folder."
        ) from error


def _check_network(endpoint: str, name: str) -> None:
    """Refuse at once what the hub's client would try for half a minute."""
    if not hub_answers(endpoint):
        raise ConnectionError(
            f"no connection to {endpoint}, and {name} is neither a folder nor in the local cache: "
            "connect to the network for the download, or pass a local folder, or stories (the "
            "embedded model)."
        )
