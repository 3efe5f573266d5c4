"""Rate of converting Lichess's evaluations in one process, compared with plain Python."""

import json
import random
from collections.abc import Iterator, Sequence

import chess

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from data.chess.lichess_rows import convert
from data.chess.lichess_sources import POSITIONS_PER_BLOCK, parse_lines
from data.chess.rows import Row
from data.chess.stockfish import win_prob_from_centipawns


NUM_POSITIONS = 20_000
MAX_PLIES, MOVES_PER_LINE = 120, 10
# Variations of the evaluations of a position. On the hub 191 million positions have 482 million in all.
EVALUATIONS = ((1,), (1,), (2, 1), (3, 1), (5,))


def make_lines(num_positions: int, seed: int) -> list[str]:
    """Return lines of lichess_db_eval.jsonl: positions of random play with random scores."""
    rng = random.Random(seed)
    lines: list[str] = []
    board = chess.Board()
    while len(lines) < num_positions:
        moves = [move.uci() for move in board.legal_moves]
        if not moves or board.ply() >= MAX_PLIES:
            board = chess.Board()
            continue
        evaluations = []
        for num_variations in rng.choice(EVALUATIONS):
            best = rng.sample(moves, min(num_variations, len(moves)))
            variations = [
                {
                    "cp": rng.randint(-500, 500),
                    "line": " ".join([move, *rng.choices(moves, k=MOVES_PER_LINE - 1)]),
                }
                for move in best
            ]
            numbers = {"knodes": rng.randrange(10**6), "depth": rng.randrange(10, 50)}
            evaluations.append({"pvs": variations, **numbers})
        fen = board.fen().rsplit(" ", 2)[0]
        lines.append(json.dumps({"fen": fen, "evals": evaluations}, separators=(",", ":")) + "\n")
        board.push_uci(rng.choice(moves))
    return lines


def convert_in_plain_python(lines: Sequence[str]) -> list[Row]:
    """Parse line by line with json, and check moves with python-chess."""
    rows = []
    for line in lines:
        position = json.loads(line)
        best = max(position["evals"], key=lambda found: (found["depth"], len(found["pvs"]), found["knodes"]))
        board = chess.Board(f"{position['fen']} 0 1")
        moves, win_probs = [], []
        for variation in best["pvs"]:
            try:
                moves.append(board.parse_uci(variation["line"].split(" ", 1)[0]).uci())
            except ValueError:
                continue
            centipawns = variation["cp"] if board.turn == chess.WHITE else -variation["cp"]
            win_probs.append(win_prob_from_centipawns(centipawns))
        rows.append(Row(f"{position['fen']} 0 1", moves, win_probs))
    return rows


def convert_blocks(lines: Sequence[str]) -> list:
    """Convert blocks of lines, as data.chess.lichess_evaluations does in each process."""
    return [
        convert(parse_lines("".join(lines[start : start + POSITIONS_PER_BLOCK])))
        for start in range(0, len(lines), POSITIONS_PER_BLOCK)
    ]


def measure(settings: Settings) -> Iterator[Table]:
    num_positions = 200 if settings.quick else NUM_POSITIONS
    lines = make_lines(num_positions, settings.seed)
    table = compare(
        "conversion, one process",
        "position",
        {
            "data.chess.lichess_evaluations": Alternative(convert_blocks, num_positions),
            "json and python-chess": Alternative(convert_in_plain_python, num_positions),
        },
        [lines] * settings.repeats,
        warm_up=lines[:100],
    )
    table.notes.append(
        f"{num_positions:,} positions of random play, {sum(map(len, lines)) / num_positions:.0f} bytes each; "
        "without decompression and without writing."
    )
    yield table
