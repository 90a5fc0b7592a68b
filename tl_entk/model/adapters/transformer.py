"""What a TransformerLens model of either class has beside its sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters.base import Inputs, ModelAdapter, depends_on_mode, run_eagerly
from tl_entk.model.sites import EMBEDDING, TIED, UNEMBEDDING, Cut, Site, Tap
from tl_entk.tools.indices import INTEGERS

# tokens to logits
Outputs = Callable[[Int[Tensor, "n t"]], Float[Tensor, "n read d_vocab_out"]]


@dataclass(frozen=True)
class TransformerAdapter(ModelAdapter):
    """A language model: tokens in, logits at every position out.

    Attributes:
        cuts: places of the last block and after, from which on only the read position may matter.
        start_cache: number of windows to a call like ``outputs`` that keeps keys and values, and
            takes the tokens that come after those it was given before.
    """

    cuts: tuple[Cut, ...] = ()
    start_cache: Callable[[int], Outputs] | None = None

    @property
    def cfg(self) -> Any:
        """The TransformerLens configuration."""
        return self.model.cfg

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.cfg.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.cfg.d_model

    @property
    def context(self) -> int:
        """Most tokens of a window."""
        return self.cfg.n_ctx

    @property
    def vocabulary(self) -> int:
        """Number of tokens that may be read."""
        return self.cfg.d_vocab

    @property
    def n_heads(self) -> int:
        """Attention heads of a block."""
        return self.cfg.n_heads

    @property
    def n_outputs(self) -> int:
        """Number of logits."""
        return self.by_name[UNEMBEDDING].d_out

    @property
    def model_name(self) -> str:
        """What the model is called, for provenance."""
        return getattr(self.cfg, "model_name", None) or "custom"

    @property
    def may_hide_uses(self) -> bool:
        """No: TransformerLens' layout is known, and what differs from it is refused."""
        return False

    @property
    def tied(self) -> bool:
        """Whether embedding and unembedding are one parameter."""
        roles = [self.by_name.get(name) for name in (EMBEDDING, UNEMBEDDING)]
        return all(roles) and roles[0].parameter is roles[1].parameter  # type: ignore[union-attr]

    @property
    def shared(self) -> dict[str, tuple[Site, ...]]:
        """The tied embedding, where there is one."""
        if not self.tied:
            return {}
        return {TIED: (self.by_name[EMBEDDING], self.by_name[UNEMBEDDING])}

    @property
    def unembedding(self) -> Float[Tensor, "d_model d_vocab_out"]:
        """W_U."""
        site = self.by_name[UNEMBEDDING]
        weight = site.parameter.detach()
        return weight.T if isinstance(site.output.module, nn.Linear) else weight

    def block_input(self, layer: int) -> Tap:
        """Where the residual stream enters a block."""
        model: Any = self.model
        return Tap(model.hook_dict[f"blocks.{layer}.hook_resid_pre"], "output")

    def outputs(self, examples: Int[Tensor, "n t"]) -> Float[Tensor, "n read d_vocab_out"]:
        """The model's logits, as its own call gives them."""
        with run_eagerly(self.model):
            return self.model(examples)

    def is_training(self, module: nn.Module) -> bool:
        """TransformerLens' model itself, and dropout and batch norms wherever they hide.

        Wrappers may keep a stale train flag, and a plain module computes the same in either mode.
        """
        return module.training and (hasattr(module, "cfg") or depends_on_mode(module))

    def example_floats(self, positions: int) -> int:
        """About how many numbers autograd keeps for an example of so many positions."""
        d_mlp = getattr(self.cfg, "d_mlp", None) or 4 * self.d_model
        per_position = 16 * self.d_model + 4 * d_mlp + 3 * self.n_heads * positions
        return positions * (self.n_layers + 1) * per_position

    def check_inputs(self, inputs: Any) -> Inputs:
        """Windows of tokens, two or more.

        Raises:
            UserError: as ``check_tokens``.
        """
        tokens = self.check_tokens(inputs)
        if len(tokens) < 2:
            raise UserError("a kernel compares examples: pass at least two rows of tokens.")
        return Inputs(tokens, tokens.shape[1], self.n_outputs)

    def check_tokens(self, tokens: Any) -> Int[Tensor, "n t"]:
        """Tokens on the model's device, checked for shape, dtype, range and padding.

        Raises:
            UserError: for anything that the model could not have meant.
        """
        if not isinstance(tokens, Tensor):
            raise UserError(
                f"tokens is a {type(tokens).__name__}: pass an integer tensor (n, t), for example "
                "model.to_tokens(texts)."
            )
        if tokens.dtype not in INTEGERS:
            raise UserError(f"tokens has dtype {tokens.dtype}: pass token numbers as torch.int64.")
        if tokens.ndim != 2:
            raise UserError(
                f"tokens has shape {tuple(tokens.shape)}: pass (examples, positions), for one "
                "example tokens[None]."
            )
        length = tokens.shape[1]
        if len(tokens) == 0:
            raise UserError("tokens has no rows: pass at least one window.")
        if not 1 <= length <= self.context:
            raise UserError(
                f"tokens has {length} positions, the model takes 1 to {self.context}: cut the "
                "windows."
            )
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocabulary:
            raise UserError(
                f"token {low if low < 0 else high} is out of range: the model's vocabulary is 0 to "
                f"{self.vocabulary - 1}. Was the text tokenized with this model's tokenizer?"
            )
        self._refuse_padding(tokens)
        return tokens.long().to(self.device)

    def _refuse_padding(self, tokens: Tensor) -> None:
        """Padded windows need an attention mask, which a kernel over positions does not have."""
        tokenizer = getattr(self.model, "tokenizer", None)
        pad, bos, eos = (
            getattr(tokenizer, f"{name}_token_id", None) for name in ("pad", "bos", "eos")
        )
        if pad is None:
            return
        is_pad = tokens == pad
        padded = is_pad.any(1)
        if pad in (bos, eos):
            # such a token may stand at the start or end of a window for its own sake, but not twice
            padded = is_pad[:, :2].all(1) | is_pad[:, -2:].all(1)
            padded &= tokens.shape[1] > 1
        if padded.any():
            row = int(padded.nonzero()[0])
            raise UserError(
                f"example {row} is padded (token {pad}): attention masks are not supported. Pass "
                "windows of one length without padding."
            )

    def check_components(self, names: Sequence[str], examples: Int[Tensor, "n t"]) -> None:
        """Refuse the row of an embedding that torch never gives a gradient.

        Raises:
            UserError: if tokens hold the padding_idx of an embedding whose kernel is wanted.
        """
        if EMBEDDING not in names and TIED not in names:
            return
        index = getattr(self.by_name[EMBEDDING].output.module, "padding_idx", None)
        if index is not None and bool((examples == index).any()):
            raise UserError(
                f"token {index} is the padding_idx of {EMBEDDING}, which gets no gradient: leave "
                "the token out of the windows, or the embedding out of the components."
            )
