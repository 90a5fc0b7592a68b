"""Training on random games: seeded, kept after every round, resumable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.experiments.board_game.games import TRAINING, Games, random_games, random_stream
from tl_entk.experiments.board_game.legality import Legality, judge_legality
from tl_entk.experiments.board_game.model import build_model
from tl_entk.experiments.board_game.settings import BoardGameSettings
from tl_entk.experiments.optimizer_state import optimizer_tensors, restore_optimizer
from tl_entk.experiments.settings import refuse_divergence
from tl_entk.tools.files import read_tensors, refuse_damaged, write_tensors
from tl_entk.tools.progress import Progress

# the number tells it from trainings by other code
STATE = "training-1.safetensors"
_KIND, _WHAT = "training of a board game", "training of this board game"
_RISE = 0.05


@dataclass(frozen=True, eq=False)
class TrainedPlayer:
    """A model that has learned which moves are legal.

    Attributes:
        model: in evaluation mode.
        loss: mean over each round's games.
        legality: after each round, of the next move of the windows' games.
    """

    model: Any
    loss: list[float] = field(default_factory=list)
    legality: list[Legality] = field(default_factory=list)


def training_loss(logits: Float[Tensor, "b t s"], games: Games) -> Float[Tensor, ""]:
    r"""Cross-entropy with the random player's own distribution, uniform over the legal moves.

    .. math:: -\frac{1}{B T} \sum_{b, t} \frac{1}{|L_{bt}|} \sum_{m \in L_{bt}} \log p_{bt}(m)

    It is the expectation of the loss of the next move itself, without the noise of the draw. Its
    least value is the mean of log |L|.

    Args:
        logits: after every move.
        games: of the same moves.

    Example:
        >>> games = random_games(2, 4, 1, torch.Generator().manual_seed(0))
        >>> loss = training_loss(games.legal.float().log(), games)
        >>> bool(loss.isclose(torch.tensor(3.0).log()))
        True
    """
    legal = games.legal
    log_p = torch.where(legal, logits.log_softmax(-1), 0)
    return -(log_p.sum(-1) / legal.sum(-1)).mean()


def train_player(
    settings: BoardGameSettings, folder: Path, held_out: Games, *, progress: bool = False
) -> TrainedPlayer:
    """Train, or take up a finished or interrupted training found in the folder.

    AdamW, the learning rate rising over the first twentieth and falling to 0. Every round has new
    games; the whole state is kept after each.

    Args:
        settings: sizes, games, optimizer and seed.
        folder: where the state lies; made if missing.
        held_out: games to judge the model on after every round.
        progress: show a progress bar.

    Raises:
        UserError: if the training diverges, or the state is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(settings, folder / STATE)
    with Progress("training", settings.rounds, progress) as bar:
        bar.advance(len(run.player.loss))
        while len(run.player.loss) < settings.rounds:
            run.play_round()
            found = judge_model(run.player.model, held_out)
            run.player.legality.append(found)
            run.save()
            bar.advance(1, f"illegal first choices {found.illegal:.1%}")
    return run.player


@torch.no_grad()
def judge_model(model: Any, games: Games) -> Legality:
    """What the model's next move is worth after the last move of every game."""
    logits = torch.cat([model(moves)[:, -1] for moves in games.moves.split(256)])
    return judge_legality(logits.softmax(-1), games.legal[:, -1])


class _Run:
    """The moving parts of a training: model, optimizer, course."""

    def __init__(self, settings: BoardGameSettings, path: Path) -> None:
        self.settings, self.path = settings, path
        self.player = TrainedPlayer(build_model(settings))
        self.parameters = [p for p in self.player.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        if path.exists():
            self._restore()

    def play_round(self) -> None:
        """Every game of a new round once."""
        settings, done = self.settings, len(self.player.loss)
        generator = random_stream(settings.seed, TRAINING, done)
        games = random_games(settings.games, settings.size, settings.moves, generator)
        batches = torch.arange(len(games.moves)).split(settings.batch_size)
        total = 0.0
        for number, rows in enumerate(batches):
            share = (done + number / len(batches)) / settings.rounds
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(share)
            batch = games.take(rows)
            loss = training_loss(self.player.model(batch.moves), batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(rows)
        self.player.loss.append(total / len(games.moves))
        refuse_divergence(self.player.loss[-1], (done + 1) * len(batches), settings)

    def save(self) -> None:
        """One file, so that an interruption cannot part weights from their round."""
        tensors = {f"parameter.{i}": value for i, value in enumerate(self.parameters)}
        tensors |= optimizer_tensors(self.optimizer, self.parameters)
        legality = [list(found) for found in self.player.legality]
        about = {"loss": self.player.loss, "legality": legality}
        write_tensors(self.path, tensors, kind=_KIND, about=about)

    def _restore(self) -> None:
        _, tensors, about = read_tensors(self.path, _KIND, _WHAT)
        with refuse_damaged(self.path, _WHAT), torch.no_grad():
            for index, parameter in enumerate(self.parameters):
                parameter.copy_(tensors[f"parameter.{index}"])
            restore_optimizer(self.optimizer, self.parameters, tensors)
            self.player.loss.extend(about["loss"])
            self.player.legality.extend(Legality(*found) for found in about["legality"])


def _rate(share: float) -> float:
    """Share of the highest learning rate, by the share of the training that is done."""
    return min(share / _RISE, 1.0) * min(1.0, (1 - share) / (1 - _RISE))
