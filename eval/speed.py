"""Every speed figure beside a naive baseline, as one table: what a move costs, and boards per second.

    python -m eval.speed

All ways do the same work on the same boards in one run, in turns, so that whatever else the machine does hits
all of them alike: trust the ratios more than the milliseconds.
"""

import argparse
import random
import statistics
from pathlib import Path
from types import SimpleNamespace

import chess
import pyarrow.parquet as pq
import torch

from data.command_line import InputError, command
from data.files import check_output
from eval.engines import ValueEngine, ordered_legal_moves
from eval.loading import choose_device, load_model
from eval.options import DTYPES, add_json_option, positive_int, seed_number, write_json
from eval.timing import Row, Timing, format_rows, take_turns
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ActionValueOutput, ValueTransformerForActionValue
from models.tokenization_chess import BOARD_LENGTH, ChessTokenizer


# Width, layers and heads of the paper's models; speed does not depend on the weights.
SIZES = {"9m": (256, 8, 8), "137m": (1024, 8, 8), "270m": (1024, 16, 8)}
BOARDS = Path(__file__).parents[1] / "data" / "chess" / "sample" / "test_boards.parquet"
# A board with about as many legal moves as the average: BOS, 77 board tokens, 32 actions.
REFERENCE_MOVES = 32
REFERENCE_TOKENS = 1 + BOARD_LENGTH + REFERENCE_MOVES

ONE_PASS = f"the forward pass of {REFERENCE_TOKENS} tokens alone"
PYTHON = "Python alone: rules, tokens, choice"
PREFIX = "prefix attention: one pass for all moves"
FULL = "full attention: a sequence for every move, in one batch"
NAIVE = "full attention: one move after the other"


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


def measure_all(
    model: ValueTransformerForActionValue,
    tokenizer: ChessTokenizer,
    boards: list[chess.Board],
    repeats: int,
    compile: bool,
) -> dict:
    """Measure a move, and boards per second, with `prefix` and `full` attention of the same weights."""
    prefix_model, full_model = (with_attention(model, name) for name in ("prefix", "full"))

    def engine(model: ValueTransformerForActionValue, compile: bool = False) -> ValueEngine:
        return ValueEngine(model, tokenizer, batch_size=len(boards), compile=compile)

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
    batched = {PREFIX: prefix, FULL: full, PYTHON: python}
    if compile:
        compiled = engine(prefix_model, compile=True)
        ways[f"{PREFIX}, compiled"] = compiled.play
        batched[f"{PREFIX}, compiled"] = compiled
    seconds = take_turns(ways, boards * repeats, "one move", "board", warm_up=boards[0])
    moves = {name: Timing.of(taken) for name, taken in seconds.items()}
    together = {name: each.analyse_many for name, each in batched.items()}
    seconds = take_turns(together, [boards] * repeats, "boards together")
    return {
        "milliseconds_per_move": {name: _scaled(timing, 1000) for name, timing in moves.items()},
        "boards_per_second": {name: len(boards) / statistics.median(taken) for name, taken in seconds.items()}
        | {NAIVE: 1 / moves[NAIVE].median},
    }


def _scaled(timing: Timing, factor: float) -> dict[str, float]:
    return {key: value * factor for key, value in timing._asdict().items()}


def format_table(results: dict) -> str:
    """Lay out the results of `measure_all`, with how many times the time of `prefix` each way takes."""
    moves, boards = results["milliseconds_per_move"], results["boards_per_second"]
    width = max(map(len, moves))
    reference = moves[PREFIX]["median"]
    one_move = [
        Row(name, f"{row['median']:.2f}", f"{row['low']:.2f} – {row['high']:.2f}", row["median"] / reference)
        for name, row in moves.items()
    ]
    together = [Row(name, f"{rate:.1f}", "", boards[PREFIX] / rate) for name, rate in boards.items()]
    return (
        f"{format_rows('one move', 'ms', one_move, width)}\n\n"
        f"{format_rows('boards together', 'boards/s', together, width)}"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.speed",
        description="Measure what a move costs, and how many boards are valued per second, with prefix "
        "attention and with full attention of the same weights, beside one move after the other. Boards are "
        "those of the sample in this repository.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--size", choices=SIZES, default="9m", help="a model of this size with random weights (9m)"
    )
    what.add_argument("--model", metavar="DIR", help="a trained model instead")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (the GPU if there is one)")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="precision of the weights (float32)"
    )
    parser.add_argument("--compile", action="store_true", help="measure the model under torch.compile too")
    parser.add_argument("--boards", type=positive_int, default=16, metavar="N", help="boards (16)")
    parser.add_argument("--repeats", type=positive_int, default=3, metavar="N", help="rounds over them (3)")
    parser.add_argument("--seed", type=seed_number, default=0, help="draws boards and weights (0)")
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    fens = pq.read_table(BOARDS, columns=["fen"])["fen"].to_pylist()
    if arguments.boards > len(fens):
        raise InputError(f"--boards {arguments.boards}: {BOARDS} has {len(fens)}; give no more than that")
    boards = [chess.Board(fen) for fen in random.Random(arguments.seed).sample(fens, arguments.boards)]
    if arguments.model:
        model, tokenizer = load_model(arguments.model, arguments.device, arguments.dtype)
    else:
        device = choose_device(arguments.device)
        torch.manual_seed(arguments.seed)
        hidden_size, num_layers, num_heads = SIZES[arguments.size]
        config = ValueTransformerConfig(
            hidden_size=hidden_size, num_hidden_layers=num_layers, num_attention_heads=num_heads
        )
        dtype = getattr(torch, arguments.dtype)
        model, tokenizer = ValueTransformerForActionValue(config).to(device, dtype), ChessTokenizer()
    results = {
        "model": arguments.model or arguments.size,
        "num_parameters": model.num_parameters(),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else model.device.type,
        "threads": torch.get_num_threads(),
        "dtype": arguments.dtype,
        "num_boards": len(boards),
        "mean_legal_moves": statistics.mean(board.legal_moves.count() for board in boards),
        "seed": arguments.seed,
        **measure_all(model, tokenizer, boards, arguments.repeats, arguments.compile),
    }
    if arguments.json:
        write_json(arguments.json, results)
    print(
        f"{results['num_parameters'] / 1e6:.1f}M parameters, {results['dtype']}, {results['device']}, "
        f"{results['threads']} threads; {results['num_boards']} boards of "
        f"{results['mean_legal_moves']:.1f} legal moves, medians of {arguments.repeats} rounds\n\n"
        f"{format_table(results)}"
    )


if __name__ == "__main__":
    command(main)
