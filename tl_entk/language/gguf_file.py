"""Models in a GGUF file (llama.cpp's format): read with the ``gguf`` package, dequantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from feature_sets.errors import UserError
from tl_entk.tools.errors import first_line

SUFFIX = ".gguf"
# where transformers could keep the weights packed, they are asked not to
_DEQUANTIZED: dict[str, Any] = (
    {"quantization_config": transformers.GgufConfig(dequantize=True)}
    if hasattr(transformers, "GgufConfig")
    else {}
)


@dataclass(frozen=True)
class GGUFFile:
    """What the header of a GGUF file says.

    Attributes:
        path: of the file.
        architecture: llama.cpp's name of it, such as "gemma3".
        quantization: llama.cpp's name of it, such as "Q4_K_M"; where the file does not say, the
            format that most of its numbers have.
        numbers: weights, all tensors together.
    """

    path: Path
    architecture: str
    quantization: str
    numbers: int

    @property
    def float32_bytes(self) -> int:
        """Size of the weights once they are dequantized."""
        return 4 * self.numbers

    @property
    def load_bytes(self) -> int:
        """Memory that loading takes: the dequantized weights twice, and the vocabulary."""
        return round(2.7 * self.float32_bytes)

    def load_config(self) -> Any:
        """Hugging Face's configuration of the model.

        Raises:
            UserError: if transformers do not take the architecture from GGUF files.
        """
        try:
            return AutoConfig.from_pretrained(self.path.parent, gguf_file=self.path.name)
        except (ValueError, KeyError) as error:
            raise self._refusal(error) from error

    def load_model(self, config: Any) -> Any:
        """Hugging Face's model, its weights dequantized to float32.

        Args:
            config: from ``load_config``.

        Raises:
            UserError: if transformers cannot dequantize the tensors, or some are missing.
        """
        try:
            kind: Any = AutoModelForCausalLM
            model, found = kind.from_pretrained(
                self.path.parent,
                config=config,
                gguf_file=self.path.name,
                dtype=torch.float32,
                **_DEQUANTIZED,
                attn_implementation="eager",
                output_loading_info=True,
            )
        except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
            raise self._refusal(error) from error
        if found["missing_keys"]:
            raise UserError(f"the weights in {self.path} lack {sorted(found['missing_keys'])[:3]}.")
        # plain weights from here on, of a class that a folder's configuration would name
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config.architectures = [type(model).__name__]
        return model

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the file holds.

        Raises:
            UserError: if transformers cannot make one of it.
        """
        try:
            return AutoTokenizer.from_pretrained(self.path.parent, gguf_file=self.path.name)
        except Exception as error:  # each tokenizer has errors of its own
            raise UserError(
                f"the tokenizer in {self.path} cannot be loaded ({first_line(error)}): pass the "
                "model's folder in Hugging Face's format."
            ) from error

    def _refusal(self, error: Exception) -> UserError:
        return UserError(
            f"{self.path} holds a {self.architecture!r} model, {self.quantization}, that Hugging "
            f"Face's transformers do not load from GGUF ({first_line(error)}): pass a file of "
            "another quantization, or the model's folder in Hugging Face's format."
        )


def find_gguf(name: str) -> Path | None:
    """The GGUF file that a name means: itself, or the one in a folder that holds nothing else.

    Args:
        name: a file, a folder, or a model's name on the hub.

    Returns:
        None for what is no GGUF file; a folder with config.json is in Hugging Face's format.

    Raises:
        FileNotFoundError: for a file that is not there.
        UserError: for a folder with several.

    Example:
        >>> find_gguf("gemma-3-270m") is None
        True
    """
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob(f"*{SUFFIX}"))
        if len(found) > 1:
            names = ", ".join(file.name for file in found[:4])
            raise UserError(f"{name} holds {len(found)} GGUF files: pass one of {names}.")
        path = found[0] if found else path
    if path.suffix.lower() != SUFFIX or path.is_dir():
        return None
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name}: pass the path of a GGUF file.")
    return path


@contextmanager
def one_reader() -> Iterator[None]:
    """Inside, a file is parsed once: transformers do it for configuration, weights and tokenizer.

    A vocabulary of 262,144 tokens takes 10 seconds each time.
    """
    try:
        import gguf
    except ImportError:  # told where a file is read
        yield
        return
    plain: Any = gguf.GGUFReader
    gguf.GGUFReader = cache(plain)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        gguf.GGUFReader = plain  # type: ignore[misc]


def read_gguf(path: Path) -> GGUFFile:
    """Read a file's header, and check that all its tensors are there.

    Raises:
        UserError: without the ``gguf`` package, for a file that is no GGUF file or is cut short,
            and for one part of a model in several files.
    """
    try:
        from gguf import GGUFReader, LlamaFileType
    except ImportError as error:
        raise UserError(
            f"{path} is a GGUF file, which the package gguf reads: pip install 'tl_entk[gguf]'."
        ) from error
    try:
        reader = GGUFReader(str(path))
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no GGUF file, or is cut short ({first_line(error)}): compare its size "
            "and hash with its source's, and fetch it anew."
        ) from error
    fields = reader.fields
    if (parts := fields.get("split.count")) is not None and parts.contents() > 1:
        raise UserError(
            f"{path} is one of {parts.contents()} files of a model: join them with llama.cpp's "
            "llama-gguf-split --merge, and pass the one file."
        )
    if "general.architecture" not in fields or not reader.tensors:
        raise UserError(f"{path} holds no model (a vocabulary or an adapter?): pass a model's.")
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    kind = fields.get("general.file_type")
    quantization = sizes.most_common(1)[0][0]
    # a file may be newer than the package that reads it
    if kind is not None and kind.contents() in LlamaFileType.__members__.values():
        stated = LlamaFileType(kind.contents()).name
        quantization = stated.removeprefix("MOSTLY_").removeprefix("ALL_")
    architecture = str(fields["general.architecture"].contents())
    return GGUFFile(path, architecture, quantization, sizes.total())
