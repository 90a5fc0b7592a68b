"""The modular-addition Transformer through training: its kept checkpoints, followed by a Track.

Which frequencies the model uses is known at the end only, so the Track goes through the
checkpoints afterwards.
"""

from __future__ import annotations

from pathlib import Path

import torch

from feature_sets import fourier
from tl_entk.dynamics.course import Course
from tl_entk.dynamics.track import Track
from tl_entk.dynamics.watch import Watch
from tl_entk.experiments.modular_transformer.model import weights_of
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.training import TrainedModel, load_checkpoint
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.model.provenance import hash_of
from tl_entk.tools.progress import Progress

UNEMBED, W_IN = "unembed.W_U", "blocks.0.mlp.W_in"
SUM = "W_U, modes 0..2F on a+b"
AXIS_SUM = "W_U, modes 2F+1..4F on axis sum"
IN_AXIS_SUM = "W_in, modes 0..2F on axis sum"


def follow_checkpoints(
    settings: ModularSettings,
    trained: TrainedModel,
    frequencies: list[int],
    path: Path | None,
    *,
    progress: bool = False,
) -> Course:
    """Eigenvalues and overlaps of the class-mean kernel at every checkpoint.

    The model comes back with its trained weights.

    Args:
        settings: of the training.
        trained: with its checkpoints and curve.
        frequencies: F key frequencies, of the trained model.
        path: where the course is kept, and taken up again; None to compute it anew.
        progress: show a progress bar.

    Returns:
        The course, with the training's accuracies and losses as metrics.
    """
    model, data, curve = trained.model, trained.data, trained.curve
    width = 2 * len(frequencies)
    features = fourier(data.a.numpy(), data.b.numpy(), settings.p, sorted(frequencies))
    first, second = range(width + 1), range(width + 1, 2 * width + 1)
    watches = {
        SUM: Watch(UNEMBED, first, features.family("a+b")),
        AXIS_SUM: Watch(UNEMBED, second, features.family("axis sum")),
        IN_AXIS_SUM: Watch(W_IN, first, features.family("axis sum")),
    }
    epochs = list(trained.checkpoints)
    last = torch.cat([weight.flatten() for weight in weights_of(model).values()])
    about = {
        **settings.as_dict(),
        "frequencies": frequencies,
        "weights_sha256": hash_of(last[None]),
    }
    if path is not None and path.exists():
        found = Course.load(path)
        # an analysis of the same training reuses it whole
        if found.provenance["given"] == about and found.steps.tolist() == epochs:
            return found
        path.unlink()
    track = Track(
        lambda model: kernel_blocks(model, data.tokens, "mean_logit", [UNEMBED, W_IN]),
        watches,
        at=epochs,
        k=min(len(data.tokens), second.stop + 8),
        path=path,
        provenance=about,
    )
    recorded = {epoch: index for index, epoch in enumerate(curve.epoch)}
    with Progress("following the checkpoints", len(epochs), progress) as bar:
        for epoch, file in trained.checkpoints.items():
            load_checkpoint(model, file)
            row = recorded[epoch]
            names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
            track(epoch, model, {name: getattr(curve, name)[row] for name in names})
            bar.advance()
    return track.course()
