"""Speed of chess moves: one pass for all legal moves compared with one sequence per move."""

import random
from collections.abc import Iterator

import chess
import pyarrow.parquet as pq
import torch

from benchmarks.settings import SAMPLE, Settings
from benchmarks.timing import Alternative, Table, compare
from eval.chess.engines import ValueEngine, ordered_legal_moves
from eval.loading import load_model
from models.chess_tokens import BOARD_LENGTH, encode_positions
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer
from training.tasks import make_task


NUM_BOARDS = 16
BATCH_SIZES = (1, 4, 16, 64, 256, 1024)
LARGEST_FULL_BATCH = 16  # a board is about 30 sequences there
REFERENCE_MOVES = 32  # about as many legal moves as an average board has

PREFIX = "one pass for all moves (prefix attention)"
FULL = "one sequence per move (full attention), one batch"
NAIVE = "one sequence per move (full attention), one after the other"
COMPILED = "one pass for all moves, compiled"


def one_sequence_at_a_time(engine: ValueEngine, board: chess.Board) -> chess.Move:
    """Choose a move as searchless_chess does: one forward pass of one sequence for every legal move."""
    moves = ordered_legal_moves(board)
    values = []
    for move in moves:
        inputs = encode_positions([board.fen()], [[move.uci()]], engine.network.orient)
        (value,) = engine.network.run(["value"], inputs)
        values.append(value.item())
    return moves[max(range(len(moves)), key=values.__getitem__)]


def with_attention(model: ValueTransformerForActionValue, attention: str) -> ValueTransformerForActionValue:
    """Return a model with the same weights and another attention."""
    config = ValueTransformerConfig(**{**model.config.to_dict(), "attention": attention})
    other = ValueTransformerForActionValue(config).to(model.device, model.dtype)
    other.load_state_dict(model.state_dict())
    return other


def make_model(settings: Settings) -> tuple[ValueTransformerForActionValue, ChessTokenizer]:
    """Load the model to play with, or make one with random weights: speed does not depend on them."""
    if settings.model:
        return load_model(settings.model, settings.device, settings.dtype)
    torch.manual_seed(settings.seed)
    model = make_task(settings.config).model
    return model.to(settings.device, getattr(torch, settings.dtype)), ChessTokenizer()


def measure(settings: Settings) -> Iterator[Table]:
    """Measure the time of a move, and boards per second by batch size; all models have the same weights."""
    model, tokenizer = make_model(settings)
    batch_sizes = BATCH_SIZES[:2] if settings.quick else BATCH_SIZES
    fens = pq.read_table(SAMPLE / "test_boards.parquet", columns=["fen"])["fen"].to_pylist()
    fens = random.Random(settings.seed).sample(fens, 2 if settings.quick else NUM_BOARDS)
    boards = [chess.Board(fen) for fen in fens]

    def engine(attention: str, compile: bool = False) -> ValueEngine:
        attending = with_attention(model, attention)
        return ValueEngine(attending, tokenizer, batch_size=max(batch_sizes), compile=compile)

    engines = {PREFIX: engine("prefix"), FULL: engine("full")}
    if settings.config.training.compile:
        engines[COMPILED] = engine("prefix", compile=True)
    inputs = {
        "input_ids": torch.zeros(1, BOARD_LENGTH, dtype=torch.long, device=model.device),
        "action_ids": torch.arange(REFERENCE_MOVES, device=model.device)[None],
    }

    @torch.inference_mode()
    def forward(board: chess.Board) -> torch.Tensor:
        return model(**inputs).value.cpu()

    alternatives = {name: Alternative(each.play) for name, each in engines.items()}
    alternatives[NAIVE] = Alternative(lambda board: one_sequence_at_a_time(engines[FULL], board))
    alternatives[f"the forward pass of {REFERENCE_MOVES} moves alone"] = Alternative(forward)
    table = compare(
        "one move", "move", alternatives, boards * settings.repeats, warm_up=boards[0], milliseconds=True
    )
    num_moves = sum(board.legal_moves.count() for board in boards) / len(boards)
    parameters = f"{model.num_parameters() / 1e6:.1f}M parameters"
    table.notes.append(f"{parameters}, {settings.dtype}, {num_moves:.1f} legal moves per board")
    yield table

    alternatives = {}
    for size in batch_sizes:
        batch = [boards[i % len(boards)] for i in range(size)]
        for name, each in engines.items():
            if name != FULL or size <= LARGEST_FULL_BATCH:
                run = lambda _, each=each, batch=batch: each.analyse_many(batch)  # noqa: E731
                alternatives[f"{size}: {name}"] = Alternative(run, size)
    yield compare("boards at a time", "board", alternatives, range(settings.repeats), warm_up=0)
