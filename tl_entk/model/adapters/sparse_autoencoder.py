"""What a sparse autoencoder of SAELens tells of itself.

Nothing of SAELens is imported, which needs TransformerLens 3: an object that encodes, decodes and
has SAELens' configuration will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError

# scalings that SAELens' trainer applies before the autoencoder, and folds into it at the end
_SCALED_OUTSIDE = {
    "expected_average_only_in": "fold_activation_norm_scaling_factor",
    "covariance_whitening": "fold_activation_whitening",
}
# examples that are encoded one by one, to see whether others have a part in their codes
_ALONE = 32
# at a threshold rounding alone may switch a latent, of an example here and there
_MAY_DIFFER = 0.1


@dataclass(frozen=True)
class SparseAutoencoder:
    """An autoencoder of the activations of one hook.

    Attributes:
        sae: the autoencoder itself.
        hook: whose activations it encodes.
        head: the one head that it encodes; None for all that the hook has.
        d_in: width of the activations.
        by_head: whether its ``encode`` expects heads on an axis of their own.
    """

    sae: Any
    hook: str
    head: int | None
    d_in: int
    by_head: bool

    def choose_head(self, states: Float[Tensor, "n d"]) -> Float[Tensor, "n d_in"]:
        """Of a hook's activations, all heads flattened, those that the autoencoder takes.

        Raises:
            UserError: if they are of another width, or there is no such head.
        """
        heads, rest = divmod(states.shape[1], self.d_in)
        if rest or (heads != 1 if self.head is None else self.head >= heads):
            of_head = "" if self.head is None else f" of head {self.head}"
            raise UserError(
                f"the autoencoder takes activations of width {self.d_in}{of_head}, and "
                f"{self.hook!r} has width {states.shape[1]}: pass one that was trained on this "
                "model."
            )
        return states.unflatten(1, (heads, self.d_in))[:, self.head or 0]

    @torch.no_grad()
    def encode(
        self, states: Float[Tensor, "n d_in"], n_heads: int
    ) -> tuple[Float[Tensor, "n d_sae"], Float[Tensor, "n d_in"]]:
        """Codes of activations, by the autoencoder's own ``encode``, and what it decodes them to.

        Raises:
            UserError: if the code of an example depends on the others.
        """
        weight = self.sae.W_dec
        inputs = states.to(weight.device, weight.dtype)
        inputs = inputs.unflatten(1, (n_heads, -1)) if self.by_head else inputs
        codes = _dense(self.sae.encode(inputs))
        # the autoencoder scales back by what it kept of the examples that it encoded last
        decoded = self.sae.decode(codes).flatten(1)
        self._check_alone(inputs[:_ALONE], codes[:_ALONE])
        return codes, decoded.to(states)

    @property
    def latent_norms(self) -> Float[Tensor, " d_sae"]:
        """How long a vector each latent adds to the reconstruction, per unit of its code."""
        norms = self.sae.W_dec.detach().double().norm(dim=1)
        # then decode() divides by the norms
        divides = getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False)
        return torch.ones_like(norms) if divides else norms

    def _check_alone(self, inputs: Tensor, codes: Tensor) -> None:
        if len(inputs) < 2:
            return
        alone = torch.cat([_dense(self.sae.encode(row[None])) for row in inputs])
        differs = ((alone - codes).abs().amax(1) > 1e-2 * codes.abs().amax()).float().mean()
        if differs > _MAY_DIFFER:
            raise UserError(
                "the autoencoder's code of one example depends on the others in the batch, as "
                "BatchTopK's do while it is trained: save it by save_inference_model and load it "
                "by SAE.load_from_disk."
            )


def adapt_autoencoder(sae: Any) -> SparseAutoencoder:
    """See an object as a sparse autoencoder of one hook.

    Args:
        sae: of SAELens, or with its ``encode``, ``decode``, ``W_dec`` and ``cfg``.

    Raises:
        UserError: for anything else; for transcoders, for autoencoders of whole sequences, for one
            that does not say which hook it is of, or whose scaling of activations is outside of it.
    """
    lacks = [name for name in ("encode", "decode", "W_dec", "cfg") if not hasattr(sae, name)]
    if lacks:
        raise UserError(
            f"sae is a {type(sae).__name__} without {', '.join(lacks)}: pass a sparse autoencoder "
            "of SAELens, such as sae_lens.SAE.load_from_disk(folder). Where it gives a tuple, the "
            "autoencoder is the first of it."
        )
    cfg = sae.cfg
    # until SAELens 5 the configuration itself had what the metadata have now
    about = getattr(cfg, "metadata", None) or cfg
    _check_kind(cfg)
    hook = getattr(about, "hook_name", None)
    if not isinstance(hook, str):
        raise UserError(
            "the autoencoder does not say which hook it is of: set sae.cfg.metadata.hook_name, for "
            'example to "blocks.0.hook_resid_post".'
        )
    head = getattr(about, "hook_head_index", None)
    by_head = head is None and getattr(sae, "hook_z_reshaping_mode", False)
    return SparseAutoencoder(sae, hook, head, cfg.d_in, by_head)


def _check_kind(cfg: Any) -> None:
    architecture = getattr(cfg, "architecture", "")
    name = architecture() if callable(architecture) else architecture
    if getattr(cfg, "d_out", None) is not None or "transcoder" in name:
        raise UserError(
            "this is a transcoder, which reads one hook and writes another: pass an autoencoder, "
            "or its own encode(activations) to compare as scores."
        )
    if name == "temporal":
        raise UserError(
            "this autoencoder reads whole sequences: encode them yourself, and pass the codes at "
            "one position to compare as scores."
        )
    scaling = getattr(cfg, "normalize_activations", "none")
    if scaling in _SCALED_OUTSIDE:
        raise UserError(
            f"the autoencoder was trained on activations scaled by {scaling!r}, which its encode "
            f"leaves out: fold the scaling into its weights first (sae.{_SCALED_OUTSIDE[scaling]}, "
            "as SAELens' trainer does at the end)."
        )


def _dense(codes: Tensor) -> Tensor:
    return codes.to_dense() if codes.is_sparse else codes
