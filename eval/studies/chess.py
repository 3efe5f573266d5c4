"""What a study of chess measures: action values of held-out boards, and perhaps puzzles."""

from pathlib import Path

import torch

from configs.schema import Config
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.command_line import InputError
from data.files import digest
from data.hub_data import local_files, pin
from data.parquet_files import list_files
from eval.actions import evaluate_actions
from eval.engines import ValueEngine
from eval.lichess_puzzles import read_puzzles
from eval.loading import load_model
from eval.puzzles import evaluate_puzzles
from eval.studies.measurements import Measure, Measurement, Seen


KL = Measure("kl", "KL ↓", ".3f")
AGREEMENT = Measure("best_move_agreement", "best move ↑", ".1%")
REGRET = Measure("regret", "regret ↓", ".4f")
TAU = Measure("kendall_tau", "Kendall's τ ↑", ".3f")
PUZZLES = Measure("puzzle_accuracy", "puzzles ↑", ".1%")


class HeldOutBoards:
    """What eval.actions measures, on all boards of `source`; KL is None of a model without a distribution."""

    name = "held_out_boards"
    measures = (KL, AGREEMENT, REGRET, TAU)

    def __init__(self, source: str, check_moves: bool, batch_size: int, device: torch.device):
        files = local_files(pin(source), "validation")
        self.boards, self.data = Boards.from_parquet(files, check_moves), digest(list_files(files))
        self.batch_size, self.device = batch_size, device
        self.description = f"{self.boards.num_boards:,} boards of {source}"

    def measure(self, model: Path) -> dict[str, float | None]:
        loaded, tokenizer = load_model(model, self.device)
        return evaluate_actions(
            loaded, self.boards, tokenizer.orient, self.batch_size, self.device, show_progress=True
        )


class Puzzles:
    """What eval.puzzles measures, on all puzzles of a file."""

    name = "puzzles"
    measures = (PUZZLES,)

    def __init__(self, path: Path, batch_size: int, device: torch.device):
        self.puzzles, self.data = read_puzzles(path), digest([path])
        self.batch_size, self.device = batch_size, device
        self.description = f"{len(self.puzzles):,} puzzles of {path}"

    def measure(self, model: Path) -> dict[str, float | None]:
        engine = ValueEngine(model, device=self.device, batch_size=self.batch_size, exact_ends="draws")
        return {PUZZLES.key: evaluate_puzzles(engine, self.puzzles)["accuracy"]}


class StudiedChess:
    """Chess, measured on the held-out boards that `config` names, which all variants share.

    Raises InputError if it names none, or something that cannot be read.
    """

    example_unit, value_unit = "boards", "action values"
    curves = (
        KL._replace(title="KL from the labels (nats) ↓"),
        AGREEMENT._replace(title="best-move agreement ↑"),
        TAU,
    )

    def __init__(self, config: Config, puzzles: Path | None, device: torch.device):
        data, batch_size = config.data, config.evaluation.batch_size
        if data.validation is None:
            raise InputError("data.validation is not set, which models are measured on: add it")
        boards = HeldOutBoards(data.validation, data.check_moves, batch_size, device)
        self.measurements: list[Measurement] = [boards]
        if puzzles is not None:
            self.measurements.append(Puzzles(puzzles, batch_size, device))

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
