"""A board game: the settings, and the names that results and reports share."""

from __future__ import annotations

from dataclasses import dataclass

from feature_sets.errors import UserError
from tl_entk.experiments.settings import Settings, check_counts, check_rates, check_seed

MINE, THEIRS, EMPTY, FLIPPED = "mine", "theirs", "empty", "flipped"
# what a square can be, from the side of the player to move; flipped: a disc that does not belong to
# the player who placed it, which the set of each player's moves does not say
FAMILIES = {
    MINE: "the square has a disc of the player to move",
    THEIRS: "the square has a disc of the opponent",
    EMPTY: "the square has no disc",
    FLIPPED: "the disc does not belong to the player who placed it",
}
AUROC, AP = "auroc", "ap"
METRICS = (AUROC, AP)

# kernels of all logits: name to the weights of a layer
ALL_LOGITS = {
    "eNTK of all logits, W_out": "blocks.{layer}.mlp.W_out",
    "eNTK of all logits, whole layer": "blocks.{layer}.*",
}
DEFAULT_KERNEL = "eNTK, the default kernel"
ONE_BACKWARD = "eNTK of one backward pass, the best"
KERNELS = (*ALL_LOGITS, DEFAULT_KERNEL, ONE_BACKWARD)
# what the moves tell without a model
MOVES_PCA, DISCS = "moves, PCA", "moves, disc by disc"
FROM_MOVES = {
    MOVES_PCA: "principal components of who placed a disc where",
    DISCS: "who placed a disc where: every square and player a direction",
}
# what probes are given beside k directions: as far as a linear probe gets
ALL_STATES, ALL_DISCS = "all of the residual stream", "all discs placed"
# probed once, since they belong to no layer
OF_NO_LAYER = (DEFAULT_KERNEL, MOVES_PCA, ALL_DISCS)

# along a side: columns have letters
MOST_SQUARES = 26

# windows with, and without, a feature that it takes to judge it
LEAST = 20


@dataclass(frozen=True)
class BoardGameSettings(Settings):
    """Settings of a small Transformer that learns the legal moves of Othello.

    Attributes:
        seed: of weights, games and splits.
        size: squares along a side of the board; even.
        moves: moves of a game, and of a window. Features are those of the board after them.
        windows: games that directions are found on, none with the board of another.
        k: directions of every basis.
        n_layers: blocks.
        d_model: residual width.
        n_heads: attention heads.
        d_mlp: MLP width.
        rounds: rounds of training, each of new random games.
        games: new games of a round.
        batch_size: games per step.
        learning_rate: the highest, of AdamW. It rises over the first twentieth and then falls to 0.
        weight_decay: AdamW.

    Raises:
        UserError: if a setting is out of its range.
    """

    seed: int = 0
    size: int = 6
    moves: int = 10
    windows: int = 512
    k: int = 25
    n_layers: int = 3
    d_model: int = 64
    n_heads: int = 4
    d_mlp: int = 256
    rounds: int = 24
    games: int = 8192
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        check_counts(
            1, moves=self.moves, n_layers=self.n_layers, n_heads=self.n_heads, d_mlp=self.d_mlp,
            d_model=self.d_model, k=self.k, rounds=self.rounds, games=self.games,
            batch_size=self.batch_size,
        )  # fmt: skip
        check_counts(4 * LEAST, windows=self.windows)
        check_counts(4, size=self.size)
        check_seed(self.seed)
        check_rates(self)
        if self.size % 2 or self.size > MOST_SQUARES:
            raise UserError(f"size = {self.size}: pass an even number from 4 to {MOST_SQUARES}.")
        # a move that fills the board has none after it to predict
        most_moves = self.squares - 5
        if self.moves > most_moves:
            raise UserError(
                f"moves = {self.moves}: a board of {self.size} x {self.size} is full after "
                f"{most_moves + 1}, and no move is left to predict; pass {most_moves} or fewer."
            )
        if self.d_model % self.n_heads:
            raise UserError(
                f"d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}; "
                "choose sizes that divide."
            )
        most = min(self.d_model, self.d_mlp, self.windows)
        if self.k > most:
            raise UserError(
                f"k = {self.k}: with a width of {min(self.d_model, self.d_mlp)} and {self.windows} "
                f"windows there are no more than {most} directions; pass a smaller k."
            )

    @property
    def squares(self) -> int:
        """Squares of the board, which are the model's tokens."""
        return self.size**2
