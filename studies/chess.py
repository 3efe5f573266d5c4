"""What a study of chess measures: action values of held-out boards, and perhaps puzzles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from cli.files import digest
from configs.schema import Config
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.chess.puzzles import read_puzzles
from data.hub import local_files, pin
from data.parquet import list_files
from eval.chess.actions import evaluate_actions
from eval.chess.engines import ValueEngine
from eval.chess.puzzles import evaluate_puzzles
from eval.loading import load_model
from studies.measurements import Measure, Seen, make_measurements


KL = Measure("kl", "KL ↓", ".3f")
AGREEMENT = Measure("best_move_agreement", "best move ↑", ".1%")
REGRET = Measure("regret", "regret ↓", ".4f")
MAE = Measure("mae", "error of values ↓", ".4f")
TAU = Measure("kendall_tau", "Kendall's τ ↑", ".3f")
PUZZLES = Measure("puzzle_accuracy", "puzzles ↑", ".1%")
CERTAIN = 0.99  # of a win; of a loss 1 less


class HeldOutBoards:
    """The measurements of eval.chess.actions on all boards of `source`; KL is None without a distribution.

    KL is from the labels of the model's own loss: only of models with the same it can be compared.
    """

    name = "held_out_boards"
    measures = (KL, AGREEMENT, REGRET, TAU)
    levels = ()

    def __init__(self, source: str, check_moves: bool, batch_size: int, device: torch.device):
        self.source = source
        files = local_files(pin(source), "validation")
        self.boards, self.data = Boards.from_parquet(files, check_moves), digest(list_files(files))
        self.batch_size, self.device = batch_size, device
        self.description = f"{self.boards.num_boards:,} boards of {source}"

    def measure(self, model: Path) -> dict[str, float | None]:
        return self.evaluate(model, self.boards)

    def evaluate(self, model: Path, boards: Boards) -> dict:
        """Return what `evaluate_actions` finds on all of some boards."""
        loaded, tokenizer = load_model(model, self.device)
        return evaluate_actions(
            loaded, boards, tokenizer.orient, self.batch_size, self.device, show_progress=True
        )


class HeldOutValues:
    """The same, with the mean absolute error of values instead of KL: any two models can be compared."""

    name = "held_out_values"
    measures = (MAE, AGREEMENT, REGRET, TAU)
    levels = ()

    def __init__(self, held_out: HeldOutBoards):
        self.held_out = held_out
        self.data, self.description = held_out.data, held_out.description

    def measure(self, model: Path) -> dict[str, float | None]:
        return self.held_out.measure(model)


class CertainMoves:
    """The choice of moves where one wins for certain, and the errors of moves that certainly win or lose."""

    name = "certain_moves"
    measures = (
        Measure("won_agreement", "best move, won ↑", ".1%"),
        Measure("won_regret", "regret, won ↓", ".4f"),
        Measure("wins_mae", "error of certain wins ↓", ".4f"),
        Measure("losses_mae", "error of certain losses ↓", ".4f"),
    )
    levels = ()

    def __init__(self, held_out: HeldOutBoards):
        self.held_out = held_out
        boards, self.data = held_out.boards, held_out.data
        is_win, is_loss = boards.win_probs >= CERTAIN, boards.win_probs <= 1 - CERTAIN
        is_won = np.logical_or.reduceat(is_win, boards.offsets[:-1])
        if not is_won.any():
            raise InputError(f"{held_out.source} has no board with a winning move, for {self.name}")
        self.won = with_moves(boards, np.repeat(is_won, np.diff(boards.offsets)))
        # No move sees the others: alone it has the same value.
        self.wins, self.losses = with_moves(boards, is_win), with_moves(boards, is_loss)
        self.description = (
            f"{self.won.num_boards:,} of them with a move that wins for certain (≥ {CERTAIN:g}), "
            f"{self.wins.num_action_values:,} such moves and {self.losses.num_action_values:,} that lose"
        )

    def measure(self, model: Path) -> dict[str, float | None]:
        won, wins = (self.held_out.evaluate(model, boards) for boards in (self.won, self.wins))
        losses = self.held_out.evaluate(model, self.losses)["mae"] if self.losses.num_boards else None
        numbers = (won["best_move_agreement"], won["regret"], wins["mae"], losses)
        return {measure.key: number for measure, number in zip(self.measures, numbers, strict=True)}


def with_moves(boards: Boards, is_kept: np.ndarray) -> Boards:
    """Return boards with some of their moves, (m,) bool, and without those that have none of them."""
    counts = np.add.reduceat(is_kept, boards.offsets[:-1], dtype=np.int64)
    has_moves = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[has_moves])])
    return Boards(boards.tokens[has_moves], boards.actions[is_kept], boards.win_probs[is_kept], offsets)


class Puzzles:
    """What eval.chess.puzzles measures, on all puzzles of a file."""

    name = "puzzles"
    measures = (PUZZLES,)
    levels = ()

    def __init__(self, path: Path, batch_size: int, device: torch.device):
        self.puzzles, self.data = read_puzzles(path), digest([path])
        self.batch_size, self.device = batch_size, device
        self.description = f"{len(self.puzzles):,} puzzles of {path}"

    def measure(self, model: Path) -> dict[str, float | None]:
        engine = ValueEngine(model, device=self.device, batch_size=self.batch_size, exact_ends="draws")
        return {PUZZLES.key: evaluate_puzzles(engine, self.puzzles)["accuracy"]}


class StudiedChess:
    """Chess, measured on the held-out boards that `config` names, which all variants share.

    `names` are the measurements wanted, the held-out boards unless given; puzzles come with their file.
    Raises InputError for others, or for something that cannot be read.
    """

    example_unit, value_unit = "boards", "action values"

    def __init__(
        self, config: Config, names: Sequence[str] | None, puzzles: Path | None, device: torch.device
    ):
        data, batch_size = config.data, config.evaluation.batch_size
        if data.validation is None:
            raise InputError("data.validation is not set, which models are measured on: add it")
        boards = HeldOutBoards(data.validation, data.check_moves, batch_size, device)
        known = {
            HeldOutBoards.name: lambda: boards,
            HeldOutValues.name: lambda: HeldOutValues(boards),
            CertainMoves.name: lambda: CertainMoves(boards),
        }
        names = names or [HeldOutBoards.name]
        self.measurements = make_measurements(known, names)
        first = KL._replace(title="KL from the labels (nats) ↓") if HeldOutBoards.name in names else MAE
        self.curves = (first, AGREEMENT._replace(title="best-move agreement ↑"), TAU)
        if puzzles is not None:
            self.measurements.append(Puzzles(puzzles, batch_size, device))

    def check_model(self, model: Path) -> None:
        """Chess models do not say what they were trained on; the settings of their runs are compared."""

    def seen(self, config: Config) -> Seen:
        """Return the boards and the action values, by the mean number of moves of a training board.

        Of single moves (data.example=action), boards are as many as have that many moves.
        """
        data, num_examples = config.data, config.training.steps * config.training.batch_size
        train = local_files(pin(data.train), "train")
        boards = Boards.load(prepare(train, data.prepared_dir, data.check_moves))
        moves = boards.num_action_values / boards.num_boards
        if data.example == "action":
            return Seen(num_examples / moves, num_examples)
        return Seen(num_examples, num_examples * moves)
