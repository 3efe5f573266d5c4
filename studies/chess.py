"""Measurements of chess studies: action values of held-out boards, and puzzles."""

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
from eval.chess.action_evaluation import evaluate_actions
from eval.chess.engines import ValueEngine
from eval.chess.puzzles import evaluate_puzzles
from eval.loading import load_model
from studies.measurements import Measure, Measurement, choose_measurements
from studies.probed_chess import ProbedChess


KL = Measure("kl", "KL", ".3f", higher_is_better=False)
MAE = Measure("mae", "error of values", ".4f", higher_is_better=False)
AGREEMENT = Measure("best_move_agreement", "best move", ".1%")
REGRET = Measure("regret", "regret", ".4f", higher_is_better=False)
TAU = Measure("kendall_tau", "Kendall's τ", ".3f")
PUZZLES = Measure("puzzle_accuracy", "puzzles", ".1%")
PUZZLES_BY_RULE = Measure("puzzle_accuracy_by_rule", "puzzles, mates by rule", ".1%")
CERTAIN_MOVES = (
    Measure("won_agreement", "best move, won", ".1%"),
    Measure("won_regret", "regret, won", ".4f", higher_is_better=False),
    Measure("wins_mae", "error of certain wins", ".4f", higher_is_better=False),
    Measure("losses_mae", "error of certain losses", ".4f", higher_is_better=False),
)
OTHER_MOVES = (
    Measure("other_bias", "over-estimation of other moves", ".4f", higher_is_better=False),
    Measure("other_mae", "error of other moves", ".4f", higher_is_better=False),
)
NUM_BEST = 5  # Lichess shows this many variations
CERTAIN = 0.99  # win probability of a certain win; certain losses have at most 1 − this


class StudiedChess:
    """Chess, measured on all held-out boards of `data.validation`."""

    example_unit, value_unit = "boards", "action values"

    def __init__(self, config: Config, device: torch.device, puzzles: Path | None = None):
        self.data, self.batch_size, self.device = config.data, config.evaluation.batch_size, device
        self.puzzles = puzzles
        self.source = self.data.validation
        if self.source is None:
            raise InputError("data.validation is not set, and models are measured on it: add it")
        self.files = local_files(pin(self.source), "validation")
        self.boards = Boards.from_parquet(self.files, self.data.check_moves)
        self.digest = digest(list_files(self.files))

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, by default the held-out boards, and puzzles if given."""
        known = {
            # KL is relative to the labels of a model's own loss, so only models with equal losses compare.
            "held_out_boards": lambda: self._held_out("held_out_boards", (KL, AGREEMENT, REGRET, TAU)),
            "held_out_values": lambda: self._held_out("held_out_values", (MAE, AGREEMENT, REGRET, TAU)),
            # A policy has no values.
            "held_out_choices": lambda: self._held_out("held_out_choices", (AGREEMENT, REGRET, TAU)),
            "certain_moves": self._certain_moves,
            "other_moves": self._other_moves,
        }
        found = choose_measurements(known, names or ["held_out_boards"])
        return found if self.puzzles is None else [*found, self._puzzles(self.puzzles)]

    def seen(self, config: Config) -> tuple[float, float]:
        """Return the numbers of boards and of action values, by the mean number of moves of a training board.

        Moves without a label count if they are trained. With data.example=action, a batch counts action
        values instead of boards. With other targets than action values, a board has one label.
        """
        data, num_examples = config.data, config.training.steps * config.training.batch_size
        train = local_files(pin(data.train), "train")
        folder = prepare(train, data.prepared_dir, data.check_moves, target=data.target)
        if data.target != "action_value":
            return num_examples, num_examples
        boards = Boards.load(folder)
        others = len(boards.unlabelled) if config.unlabelled_moves.loss != "none" else 0
        moves = (boards.num_action_values + others) / boards.num_boards
        return (
            (num_examples / moves, num_examples)
            if data.example == "action"
            else (num_examples, num_examples * moves)
        )

    def probed(self, limit: int) -> ProbedChess:
        """Return the moves of the first `limit` held-out boards."""
        return ProbedChess(self.boards, self.files, limit, f"boards of {self.source}", self.device)

    def evaluate(self, model: Path, boards: Boards) -> dict:
        """Return the results of eval.chess.actions."""
        loaded, tokenizer = load_model(model, self.device)
        return evaluate_actions(loaded, boards, tokenizer.orient, self.batch_size, show_progress=True)

    def _held_out(self, name: str, measures: tuple[Measure, ...]) -> Measurement:
        description = f"{self.boards.num_boards:,} boards of {self.source}"
        return Measurement(
            name, description, self.digest, measures, lambda model: self.evaluate(model, self.boards)
        )

    def _certain_moves(self) -> Measurement:
        """Measure choices where a move wins for certain, and the errors of certain wins and losses."""
        boards = self.boards
        is_win, is_loss = boards.win_probs >= CERTAIN, boards.win_probs <= 1 - CERTAIN
        is_won = np.logical_or.reduceat(is_win, boards.offsets[:-1])
        if not is_won.any():
            raise InputError(
                f"certain_moves: {self.source} has no board with a winning move: use other boards"
            )
        won = with_moves(boards, np.repeat(is_won, np.diff(boards.offsets)))
        # The value of a move does not depend on the other moves of a board.
        wins, losses = with_moves(boards, is_win), with_moves(boards, is_loss)

        def measure(model: Path) -> dict[str, float | None]:
            of_won = self.evaluate(model, won)
            return {
                "won_agreement": of_won["best_move_agreement"],
                "won_regret": of_won["regret"],
                "wins_mae": self.evaluate(model, wins)["mae"],
                "losses_mae": self.evaluate(model, losses)["mae"] if losses.num_boards else None,
            }

        description = (
            f"{won.num_boards:,} of them with a move that wins for certain (≥ {CERTAIN:g}), "
            f"{wins.num_action_values:,} such moves and {losses.num_action_values:,} that lose"
        )
        return Measurement("certain_moves", description, self.digest, CERTAIN_MOVES, measure)

    def _other_moves(self) -> Measurement:
        """Measure the values of moves that are not among the best of their board."""
        boards = self.boards
        rows = np.repeat(np.arange(boards.num_boards), np.diff(boards.offsets))
        best_first = np.lexsort((-boards.win_probs, rows))
        is_other = np.empty(boards.num_action_values, dtype=bool)
        is_other[best_first] = np.arange(boards.num_action_values) - boards.offsets[rows] >= NUM_BEST
        others = with_moves(boards, is_other)

        def measure(model: Path) -> dict[str, float | None]:
            found = self.evaluate(model, others)
            return {"other_bias": found["bias"], "other_mae": found["mae"]}

        description = (
            f"their {others.num_action_values:,} moves that are not among the {NUM_BEST} best of a board"
        )
        return Measurement("other_moves", description, self.digest, OTHER_MOVES, measure)

    def _puzzles(self, path: Path) -> Measurement:
        puzzles = read_puzzles(path)

        def measure(model: Path) -> dict[str, float | None]:
            engine = ValueEngine(model, device=self.device, batch_size=self.batch_size)
            found: dict[str, float | None] = {}
            for measured, exact_ends in ((PUZZLES, "draws"), (PUZZLES_BY_RULE, "all")):
                engine.exact_ends = exact_ends
                found[measured.key] = evaluate_puzzles(engine, puzzles)["accuracy"]
            return found

        measures = (PUZZLES, PUZZLES_BY_RULE)
        return Measurement(
            "puzzles", f"{len(puzzles):,} puzzles of {path}", digest([path]), measures, measure
        )


def with_moves(boards: Boards, is_kept: np.ndarray) -> Boards:
    """Return boards with some of their moves, `is_kept` (moves,) bool, without boards that have none left."""
    counts = np.add.reduceat(is_kept, boards.offsets[:-1], dtype=np.int64)
    has_moves = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[has_moves])])
    return Boards(boards.tokens[has_moves], boards.actions[is_kept], boards.win_probs[is_kept], offsets)
