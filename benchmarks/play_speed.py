"""What a move costs, and how many boards a second are valued together, with `prefix` and `full` attention."""

from types import SimpleNamespace

import chess
import torch

from benchmarks.timing import Row, Timing, Way, compare, format_rows, rate_rows, take_turns
from eval.chess.engines import ValueEngine, ordered_legal_moves
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ActionValueOutput, ValueTransformerForActionValue
from models.tokenization_chess import BOARD_LENGTH, ChessTokenizer


# A board with about as many legal moves as the average: BOS, 77 board tokens, 32 actions.
REFERENCE_MOVES = 32
LARGEST_FULL_BATCH = 16  # a board is some thirty sequences there
REFERENCE_TOKENS = 1 + BOARD_LENGTH + REFERENCE_MOVES

ONE_PASS = f"the forward pass of {REFERENCE_TOKENS} tokens alone"
PYTHON = "Python alone: rules, tokens, choice"
PREFIX = "prefix attention: one pass for all moves"
FULL = "full attention: a sequence for every move, in one batch"
NAIVE = "full attention: one move after the other"
COMPILED = f"{PREFIX}, compiled"


def one_move_after_the_other(engine: ValueEngine, board: chess.Board) -> chess.Move:
    """Choose a move as searchless_chess does: a forward pass of one sequence for every legal move."""
    moves = ordered_legal_moves(board)
    values = []
    with torch.inference_mode():
        for move in moves:
            inputs = engine.tokenizer.encode_positions([board.fen()], [[move.uci()]], return_tensors="pt")
            values.append(engine.model(**inputs.to(engine.model.device)).value.item())
    return moves[max(range(len(moves)), key=values.__getitem__)]


class NoNetwork:
    """A model that costs nothing, so that what is left is the engine's own Python."""

    device = torch.device("cpu")
    value_loss = SimpleNamespace(num_outputs=1)

    def eval(self) -> "NoNetwork":
        return self

    def __call__(self, input_ids: torch.Tensor, action_ids: torch.Tensor) -> ActionValueOutput:
        return ActionValueOutput(value=torch.zeros(action_ids.shape))


def with_attention(model: ValueTransformerForActionValue, attention: str) -> ValueTransformerForActionValue:
    """Return a model of the same weights with another attention."""
    config = ValueTransformerConfig(**{**model.config.to_dict(), "attention": attention})
    other = ValueTransformerForActionValue(config).to(model.device, model.dtype)
    other.load_state_dict(model.state_dict())
    return other


def measure_play(
    model: ValueTransformerForActionValue,
    tokenizer: ChessTokenizer,
    boards: list[chess.Board],
    batch_sizes: list[int],
    repeats: int,
    compile: bool,
) -> dict:
    """Measure a move of every board, and boards per second together, with two attentions of the same weights.

    Batches larger than the number of boards repeat them; `full` attention gets no larger ones than
    LARGEST_FULL_BATCH.
    """
    prefix_model, full_model = (with_attention(model, name) for name in ("prefix", "full"))

    def engine(model: ValueTransformerForActionValue, compile: bool = False) -> ValueEngine:
        return ValueEngine(model, tokenizer, batch_size=max(batch_sizes), compile=compile)

    prefix, full, python = engine(prefix_model), engine(full_model), engine(NoNetwork())
    inputs = {
        "input_ids": torch.zeros(1, BOARD_LENGTH, dtype=torch.long, device=model.device),
        "action_ids": torch.arange(REFERENCE_MOVES, device=model.device)[None],
    }

    @torch.inference_mode()
    def one_pass(board: chess.Board) -> torch.Tensor:
        return prefix_model(**inputs).value.cpu()

    ways = {PREFIX: prefix.play, ONE_PASS: one_pass, PYTHON: python.play, FULL: full.play}
    ways[NAIVE] = lambda board: one_move_after_the_other(full, board)
    together = {PREFIX: prefix, FULL: full, PYTHON: python}
    if compile:
        compiled = engine(prefix_model, compile=True)
        ways[COMPILED] = compiled.play
        together[COMPILED] = compiled
    seconds = take_turns(ways, boards * repeats, "one move", "board", warm_up=boards[0])
    moves = {name: Timing.of(taken) for name, taken in seconds.items()}
    num_moves = sum(board.legal_moves.count() for board in boards)
    rates = compare(
        {name: Way(each.analyse_many, len(boards)) for name, each in together.items()},
        [boards] * repeats,
        "boards together",
        warm_up=boards,
    )
    batches = {}
    for size in batch_sizes:
        some = [boards[i % len(boards)] for i in range(size)]
        chosen = {name: together[name] for name in (PREFIX, COMPILED) if name in together}
        if size <= LARGEST_FULL_BATCH:
            chosen[FULL] = full
        batches[size] = compare(
            {name: Way(each.analyse_many, size) for name, each in chosen.items()},
            [some] * repeats,
            f"{size} boards together",
            warm_up=some,
        )
    return {
        "num_boards": len(boards),
        "mean_legal_moves": num_moves / len(boards),
        "milliseconds_per_move": {
            name: {key: 1000 * value for key, value in timing._asdict().items()}
            | {"times": timing.median / moves[PREFIX].median}
            for name, timing in moves.items()
        },
        "boards_per_second": rates,
        "boards_per_second_by_batch": batches,
        "action_value_prefix_to_naive": moves[NAIVE].median / moves[PREFIX].median,
    }


def format_play(results: dict) -> str:
    """Lay out the results of `measure_play`."""
    moves = results["milliseconds_per_move"]
    one_move = [
        Row(name, f"{row['median']:.2f}", f"{row['low']:.2f} – {row['high']:.2f}", row["times"])
        for name, row in moves.items()
    ]
    by_batch = [
        row._replace(name=f"{size:>4} {row.name}")
        for size, rates in results["boards_per_second_by_batch"].items()
        for row in rate_rows(rates)
    ]
    width = max(len(row.name) for row in (*one_move, *by_batch))
    together = f"{results['num_boards']} boards together"
    return "\n\n".join(
        [
            format_rows("one move", "ms", one_move, width),
            format_rows(together, "boards/s", rate_rows(results["boards_per_second"]), width),
            format_rows("boards together", "boards/s", by_batch, width),
        ]
    )
