"""Latents of a sparse autoencoder as a basis beside eigendirections: their activations as scores.

An autoencoder has many more latents than a kernel has directions, and most do not differ among a
few hundred examples. Those that do stand in the order of the variance that they add to the
reconstruction, as principal components and eigendirections stand in theirs; no label is looked at.
So the first k columns are a basis of k, and all columns are a larger one, to be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.probes import varies
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.adapters.sparse_autoencoder import adapt_autoencoder
from tl_entk.model.checks import Position


@dataclass(frozen=True, eq=False, repr=False)
class SaeScores(Shown):
    """What the latents of a sparse autoencoder say of every example.

    Attributes:
        scores: (N, m) activations of the latents that differ among the examples, largest
            contribution first.
        latents: (m,) their numbers in the autoencoder.
        contributions: (m,) variance over the examples of what each adds to the reconstruction.
        width: latents of the autoencoder.
        hook: whose activations it encodes.
        active: mean number of latents that are not 0 for an example (L0).
        explained: share of the activations' variance that the reconstruction explains.
    """

    scores: Float[Tensor, "n m"]
    latents: Int[Tensor, " m"]
    contributions: Float[Tensor, " m"]
    width: int
    hook: str
    active: float
    explained: float

    @property
    def columns(self) -> list[str]:
        """A name for every column, for ``best_directions(..., columns=)``."""
        return [f"latent {latent}" for latent in self.latents.tolist()]

    def _lines(self) -> list[str]:
        n, m = self.scores.shape
        return [
            f"SaeScores: {m} of {self.width} latents differ among {n} examples, at {self.hook}",
            f"{self.active:.1f} are active in an example; R² of the reconstruction "
            f"{self.explained:.2f}",
            f"first: {list_some(self.latents.tolist())}",
        ]

    def to_pandas(self) -> Any:
        """A row per latent that differs: its number, contribution, and share of examples."""
        import pandas as pd

        return pd.DataFrame(
            {
                "latent": self.latents.numpy(),
                "contribution": self.contributions.numpy(),
                "active": (self.scores != 0).double().mean(0).numpy(),
            }
        )


def sae_scores(
    model: Any,
    tokens: Int[Tensor, "n t"],
    sae: Any,
    position: Position = -1,
    *,
    batch_size: int = 128,
) -> SaeScores:
    r"""Activations of an autoencoder's latents at one position: a basis for :func:`compare`.

    .. math:: z = \mathrm{encode}(h), \quad c_j = \lVert d_j \rVert^2 \,\mathrm{Var}_x\, z_j(x),
        \quad \text{columns in the order of falling } c_j

    h are the hook's activations and d_j the decoder's vectors. No label enters, so that the choice
    of the first k needs no train half.

    Args:
        model: a TransformerLens model, in evaluation mode.
        tokens: (n, t) windows.
        sae: an autoencoder of SAELens, or an object with its ``encode``, ``decode``, ``W_dec`` and
            ``cfg``. Its own ``encode`` is called, with the scaling that it applies itself.
        position: which position, or one per example.
        batch_size: examples per forward pass.

    Returns:
        Scores of the latents that differ among the examples. Dead ones are left out.

    Raises:
        UserError: if the model does not have the autoencoder's hook, or has it in another width;
            for transcoders and what is no autoencoder; if no latent differs.

    Warns:
        UserWarning: if the reconstruction is worse than the mean activation, as by an autoencoder
            of another model, or of one whose weights were processed on loading.

    Example:
        >>> from types import SimpleNamespace
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> about = SimpleNamespace(hook_name="blocks.0.hook_resid_post")
        >>> vectors = torch.cat([torch.eye(64), -torch.eye(64)])  # either sign of a coordinate
        >>> sae = SimpleNamespace(
        ...     cfg=SimpleNamespace(d_in=64, metadata=about), W_dec=vectors,
        ...     encode=lambda h: (h @ vectors.T).relu(), decode=lambda z: z @ vectors,
        ... )
        >>> found = sae_scores(model, data.tokens, sae)
        >>> len(found.scores), found.width, found.columns[0].startswith("latent ")
        (25, 128, True)
        >>> round(found.explained, 3)
        1.0
    """
    adapter = adapt_transformer(
        model, "encode its activations yourself, and pass the codes to compare as scores."
    )
    autoencoder = adapt_autoencoder(sae)
    states = activations_at(model, tokens, autoencoder.hook, position, batch_size=batch_size)
    states = autoencoder.choose_head(states)
    codes, decoded = autoencoder.encode(states, adapter.n_heads)
    if not bool(codes.isfinite().all()):
        raise UserError(
            "the autoencoder's codes are not finite: load it in a wider format, "
            'such as dtype="float32".'
        )
    codes = codes.detach().cpu().double()
    differ = torch.from_numpy(varies(codes.numpy()))
    if not bool(differ.any()):
        raise UserError(
            "no latent of the autoencoder differs among these examples: pass more, or an "
            f"autoencoder that was trained on {autoencoder.hook!r} of this model."
        )
    norms = autoencoder.latent_norms.cpu()
    contributions = codes.var(0, correction=0) * norms**2
    latents = differ.nonzero()[:, 0]
    latents = latents[contributions[latents].argsort(descending=True, stable=True)]
    explained = _explained_share(states, decoded)
    if explained < 0:
        warn_user(
            f"the autoencoder reconstructs {autoencoder.hook!r} worse than its mean does "
            f"(R² {explained:.2f}): was it trained on this model, with weights loaded this way?"
        )
    return SaeScores(
        codes[:, latents],
        latents,
        contributions[latents],
        codes.shape[1],
        autoencoder.hook,
        float((codes != 0).sum(1).double().mean()),
        explained,
    )


def _explained_share(states: Float[Tensor, "n d"], decoded: Float[Tensor, "n d"]) -> float:
    states, decoded = states.double(), decoded.double()
    return 1 - float((states - decoded).square().sum() / (states - states.mean(0)).square().sum())
