"""The settings of chess."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.errors import InputError
from configs.schema import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    Config,
    EvaluationConfig,
    OfflineDataConfig,
    TransformerSizes,
    check_source,
    section,
    setting,
)
from data.chess.rows import Target
from data.parquet import parquet_files


# Training rows and the test set of data.chess.chessbench, in the configurations for GPUs.
CHESSBENCH = (Path("runs/chessbench"), Path("runs/chessbench/test"))


@dataclass
class ChessModelConfig(TransformerSizes):
    # full: every (board, action) pair is a sequence of its own, as in ChessBench; prefix: all actions of a
    # board are valued in one pass, the board is bidirectional; causal: likewise, the board is causal.
    attention: Literal["full", "prefix", "causal"] = "prefix"
    # board: a move is embedded with its two squares and the pieces on them; table: one vector per move.
    action_embedding: Literal["board", "table"] = "board"
    # With two, a move has a token for its start and one for its end square; more are scratch tokens.
    tokens_per_action: int = setting(1, AT_LEAST_ONE)
    board_rotation: bool = True  # rotary positions on the board (models/board_rotation.py)

    def check(self) -> None:
        super().check()
        is_even = self.num_attention_heads % 2 == 0 and self.hidden_size // self.num_attention_heads % 2 == 0
        if self.board_rotation and not is_even:
            raise ValueError(
                "model.board_rotation needs an even number of heads of even width: change "
                "model.num_attention_heads or model.hidden_size"
            )


@dataclass
class ChessDataConfig(OfflineDataConfig):
    # The prediction, as in ChessBench: the values of moves, the value of the position, or the move
    # played there. Rows of action values serve all of them: the position has the value of its best move, and
    # the move played is the best. state_value and move also read rows of their own (docs/data.md).
    target: Target = "action_value"
    # Held-out boards for the periodic evaluation, given like `train`; of a dataset on the hub, the split
    # validation or else test. No evaluation by default.
    validation: str | None = setting(None, may_differ=True)
    # Folder of the memory-mapped arrays; by default next to the Parquet file.
    prepared_dir: str | None = setting(None, may_differ=True)
    check_moves: bool = setting(True, may_differ=True)  # check once that every move is legal
    # The unit of a batch: boards with all their labelled moves, or single (board, move) pairs as in
    # ChessBench.
    example: Literal["board", "action"] = "board"
    orient: bool = True  # show every position from the side to move
    # Train also on every board mirrored left to right, which doubles the epoch. Boards with castling rights
    # cannot be mirrored; they appear twice, unchanged.
    mirror: bool = False
    # Add noise from U(-n/2, n/2) to every training label, sampled once per label: n.
    label_noise: float = setting(0.0, NOT_NEGATIVE)

    def check_files(self) -> None:
        for source in filter(None, (self.train, self.validation)):
            folder = Path(source)
            if folder in CHESSBENCH and not (folder.is_dir() and parquet_files(folder)):
                raise InputError(
                    f"{folder} has no boards: `python -m data.chess.chessbench --download 20 --output "
                    f"{CHESSBENCH[0]}` downloads 20 of ChessBench's 2,148 shards, about 12 GB, and its test "
                    "set; data.train=FILE and data.validation=FILE (or null) name other boards"
                )
            check_source(source)


@dataclass
class RankingLossConfig:
    """A second head, which ranks the moves of a board (docs/chess.md). The paper has none."""

    weight: float = setting(0.0, NOT_NEGATIVE)  # of its loss, added to the value loss; 0: no such head
    temperature: float = setting(0.02, POSITIVE)  # in win probability: a move this much worse counts 1 / e
    # Moves are chosen by value + scale × log-probability of being the best.
    scale: float = setting(0.1, POSITIVE)


@dataclass
class UnlabelledMovesConfig:
    """Training on legal moves without a label, which is needed if only the best moves have labels."""

    # bound: such a move is at most as good as the worst labelled move of its board; if the model values it
    # higher, it is trained towards that label. conservative: CQL's term over all legal moves, for every
    # labelled move. training/unlabelled_moves.py has the equations.
    loss: Literal["none", "bound", "conservative"] = "none"
    weight: float = setting(1.0, POSITIVE)  # of a move without a label, compared with a label
    temperature: float = setting(0.1, POSITIVE)  # of conservative, in win probability


@dataclass
class ChessEvaluationConfig(EvaluationConfig):
    boards: int | None = setting(None, AT_LEAST_ONE)  # evaluate on the first boards only; on all by default
    batch_size: int = setting(64, AT_LEAST_ONE)  # boards


@dataclass
class ChessConfig(Config):
    """Chess without search: distil Stockfish's action values, state values or moves."""

    task: Literal["chess"] = "chess"
    model: ChessModelConfig = section(ChessModelConfig)
    data: ChessDataConfig = section(ChessDataConfig)
    ranking_loss: RankingLossConfig = section(RankingLossConfig)
    unlabelled_moves: UnlabelledMovesConfig = section(UnlabelledMovesConfig)
    evaluation: ChessEvaluationConfig = section(ChessEvaluationConfig, may_differ=True)

    def check(self) -> None:
        super().check()
        self.model.check()
        if self.data.mirror and self.data.example == "action":
            raise ValueError("data.mirror is for data.example=board")
        if self.data.target != "action_value":
            for key, is_set in {
                "data.example": self.data.example != "board",
                "data.label_noise": self.data.label_noise,
                "model.tokens_per_action": self.model.tokens_per_action != 1,
                "ranking_loss.weight": self.ranking_loss.weight,
                "unlabelled_moves.loss": self.unlabelled_moves.loss != "none",
            }.items():
                if is_set:
                    raise ValueError(f"{key} is for data.target=action_value, not for {self.data.target}")
        if self.ranking_loss.weight and self.data.example == "action":
            raise ValueError("ranking_loss compares the moves of a board: it is for data.example=board")
        if self.unlabelled_moves.loss != "none" and self.data.example == "action":
            raise ValueError("unlabelled_moves.loss is for data.example=board")
        if self.unlabelled_moves.loss != "none" and not self.data.check_moves:
            raise ValueError("unlabelled_moves.loss needs the legal moves: set data.check_moves=true")
