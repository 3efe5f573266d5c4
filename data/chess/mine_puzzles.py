"""Mine puzzles from games that Stockfish plays against itself, as a CSV file in the format of Lichess.

FEN is the position before the opponent's last move, Moves that move and then the solution: the solver's moves
at odd indices, every one of them the only good one. The tests of what is a puzzle are after those of
github.com/ornicar/lichess-puzzler, and milder: a capture of a piece left hanging is a tactic here.

    python -m data.chess.mine_puzzles --output puzzles.csv --puzzles 200 --seed 3 --processes 2
"""

import argparse
import csv
import functools
import hashlib
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chess
from tqdm import tqdm

from cli.errors import command
from cli.files import atomic_write, check_output
from data.chess.engine_work import Skipped, results_in_order
from data.chess.positions import position_key, positions_of_boards
from data.chess.resumable_job import ResultLog, ResumableJob
from data.chess.selfplay import play_game
from data.chess.stockfish import SearchLine, Stockfish, last_ranking, win_prob_from_centipawns


COLUMNS = (
    "PuzzleId",
    "FEN",
    "Moves",
    "Rating",
    "RatingDeviation",
    "Popularity",
    "NbPlays",
    "Themes",
    "GameUrl",
    "OpeningTags",
)
# How kinds are shared out over ten puzzles. Longer mates are few because hardly one game in thirty has one.
KINDS = (*("winning tactic", "mate in 1") * 4, "winning tactic", "longer mate")

# In a tactic the solver's move wins, the second best is this much worse, and the solver was not winning
# before the opponent erred; all as win probabilities. In a mate the second best may win, but not by this many
# centipawns.
WINNING = 0.75
CLEARLY_WORSE = 0.25
NOT_WON_BEFORE = 0.65
SECOND_TO_MATE_IN_2 = 500
SECOND_TO_LONGER_MATE = 300
MAX_SOLVER_MOVES = 5
# The first look at every position of a game, before a longer search confirms the promising ones.
GLANCE_NODES = 2_000
CRUSHING_CENTIPAWNS = 600
ENDGAME_PIECES = 6
OPENING_PLIES = 20


class Puzzle(NamedTuple):
    """The position before the opponent's move, that move with the solution, and what it is about."""

    fen: str
    moves: list[str]
    kind: str
    themes: list[str]


def mine_game(engine: Stockfish, game: int, seed: int, nodes: int) -> list[Puzzle]:
    """Return the puzzles of game number `game` of self-play, at most one of each kind."""
    moves = play_game(engine, seed, game).move_stack
    engine.new_game()
    before = chess.Board()
    puzzles: dict[str, Puzzle] = {}
    for move in moves:
        puzzle = find_puzzle(engine, before, move, nodes)
        if puzzle:
            puzzles.setdefault(puzzle.kind, puzzle)
        before.push(move)
    return list(puzzles.values())


def find_puzzle(engine: Stockfish, before: chess.Board, move: chess.Move, nodes: int) -> Puzzle | None:
    """Return the puzzle that the opponent's `move` sets, if there is one; `nodes` confirm each move of it."""
    board = before.copy(stack=False)
    board.push(move)
    if not any(board.legal_moves):
        return None
    if mate := _mate_in_1(board):
        return _puzzle(before, [move.uci(), mate], "mate in 1", ["mate", "mateIn1"])
    glance = _ranking(engine, board, GLANCE_NODES)
    if len(glance) == 1 or not _is_only_move(glance):
        return None
    best = _ranking(engine, board, nodes)[0]
    if best.mate_in is not None:
        solution = mating_solution(engine, board, nodes)
        if solution is None:
            return None
        themes = ["mate", f"mateIn{(len(solution) + 1) // 2}"]
        return _puzzle(before, [move.uci(), *solution], "longer mate", themes)
    was_won = 1.0 - _ranking(engine, before, nodes)[0].win_prob > NOT_WON_BEFORE
    solution = None if was_won else winning_solution(engine, board, nodes)
    if solution is None:
        return None
    themes = ["crushing" if best.centipawns >= CRUSHING_CENTIPAWNS else "advantage"]
    return _puzzle(before, [move.uci(), *solution], "winning tactic", themes)


def mating_solution(engine: Stockfish, board: chess.Board, nodes: int) -> list[str] | None:
    """Return moves that force mate, each the solver's only good one; the last may be any of several mates."""
    board = board.copy(stack=False)
    solution: list[str] = []
    for _ in range(MAX_SOLVER_MOVES):
        if mate := _mate_in_1(board):
            return [*solution, mate]
        ranking = _ranking(engine, board, nodes)
        if ranking[0].mate_in is None or not _is_only_move(ranking):
            return None
        solution.append(ranking[0].moves[0])
        board.push_uci(solution[-1])
        # The opponent's reply is searched for itself: a mating line need not show the longest defence.
        solution.append(_ranking(engine, board, nodes)[0].moves[0])
        board.push_uci(solution[-1])
    return None


def winning_solution(engine: Stockfish, board: chess.Board, nodes: int) -> list[str] | None:
    """Return moves that win without mate, each the solver's only good one, for as long as there is only one.

    It does not end with a move that was the only legal one.
    """
    board = board.copy(stack=False)
    solution: list[str] = []
    length = 0
    for _ in range(MAX_SOLVER_MOVES):
        ranking = _ranking(engine, board, nodes)
        if ranking[0].mate_in is not None or not _is_only_move(ranking):
            break
        solution.append(ranking[0].moves[0])
        board.push_uci(solution[-1])
        if len(ranking) > 1:
            length = len(solution)
        if not any(board.legal_moves):
            break
        solution.append(_ranking(engine, board, nodes)[0].moves[0])
        board.push_uci(solution[-1])
        if not any(board.legal_moves):
            break
    return solution[:length] or None


def _mate_in_1(board: chess.Board) -> str | None:
    """Return a move that mates, the first in alphabetical order."""
    for move in sorted(board.legal_moves, key=chess.Move.uci):
        if board.gives_check(move):
            board.push(move)
            is_mate = board.is_checkmate()
            board.pop()
            if is_mate:
                return move.uci()
    return None


def _is_only_move(ranking: list[SearchLine]) -> bool:
    """Tell whether the best move wins or mates and the second best is clearly worse."""
    best = ranking[0]
    if best.win_prob < WINNING:
        return False
    if len(ranking) == 1:
        return True
    second = ranking[1]
    if best.mate_in is None:
        return second.win_prob <= best.win_prob - CLEARLY_WORSE
    bound = SECOND_TO_MATE_IN_2 if best.mate_in <= 2 else SECOND_TO_LONGER_MATE
    return second.win_prob < win_prob_from_centipawns(bound)


def _ranking(engine: Stockfish, board: chess.Board, nodes: int) -> list[SearchLine]:
    """Return the two best moves, or the only one."""
    _, lines = engine.search(board.fen(), nodes=nodes, multipv=2)
    return last_ranking(lines)


def _puzzle(before: chess.Board, moves: list[str], kind: str, themes: list[str]) -> Puzzle:
    """Add the themes of length and of the phase of the game."""
    length = {1: "oneMove", 2: "short", 3: "long"}.get(len(moves) // 2, "veryLong")
    pieces = chess.popcount(before.occupied & ~before.pawns & ~before.kings)
    if pieces <= ENDGAME_PIECES:
        phase = "endgame"
    else:
        phase = "opening" if before.ply() < OPENING_PLIES else "middlegame"
    return Puzzle(before.fen(), moves, kind, [*themes, length, phase])


def mine(arguments: argparse.Namespace, work: ResumableJob) -> list[Puzzle]:
    """Play games until there are enough puzzles of each kind; return them in the order of the games."""
    log = work.log("games")
    search = functools.partial(mine_game, seed=arguments.seed, nodes=arguments.nodes)
    wanted = Counter(itertools.islice(itertools.cycle(KINDS), arguments.puzzles))
    positions = set(map(position_key, positions_of_boards(arguments.exclude) if arguments.exclude else []))
    puzzles: list[Puzzle] = []
    with tqdm(total=arguments.puzzles, desc="mining", unit=" puzzles") as progress:
        for mined in itertools.chain(log, _mined(search, log, arguments.processes)):
            for puzzle in (Puzzle(*fields) for fields in mined):
                board = chess.Board(puzzle.fen)
                board.push_uci(puzzle.moves[0])
                position = position_key(board.fen())
                if wanted[puzzle.kind] and position not in positions:
                    wanted[puzzle.kind] -= 1
                    positions.add(position)
                    puzzles.append(puzzle)
                    progress.update()
            if len(puzzles) == arguments.puzzles:
                return puzzles
    raise AssertionError("self-play never ends")


def _mined(search: functools.partial, log: ResultLog, processes: int) -> Iterator[Any]:
    for mined in results_in_order(search, itertools.count(len(log)), processes):
        if isinstance(mined, Skipped):
            tqdm.write(f"warning: skipped a game of self-play: {mined.reason}", file=sys.stderr)
            mined = []
        log.append(mined)
        yield mined


def write_puzzles(path: Path, puzzles: list[Puzzle]) -> None:
    """Write the CSV; the columns that only players can fill, ratings among them, stay empty."""
    with atomic_write(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for puzzle in puzzles:
            moves = " ".join(puzzle.moves)
            writer.writerow(
                {
                    "PuzzleId": hashlib.sha256(f"{puzzle.fen} {moves}".encode()).hexdigest()[:8],
                    "FEN": puzzle.fen,
                    "Moves": moves,
                    "Themes": " ".join(puzzle.themes),
                }
            )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.mine_puzzles",
        description="Mine puzzles from games that Stockfish plays against itself: of every ten, five winning "
        "tactics, four mates in 1 and one longer mate. Work that was cut short goes on when the same command "
        "is given again; the puzzles are the same whatever the number of processes.",
    )
    add = parser.add_argument
    add(
        "--output",
        required=True,
        type=Path,
        help="the CSV file to write, in the format of the Lichess database",
    )
    add("--puzzles", type=int, default=200, help="how many (200)")
    add(
        "--nodes",
        type=int,
        default=100_000,
        help="search effort that confirms each move of a solution (100000)",
    )
    add(
        "--exclude",
        type=Path,
        help="a Parquet file of boards that no puzzle is to set, such as training data",
    )
    add("--seed", type=int, default=0, help="decides the games (0)")
    add("--processes", type=int, default=os.cpu_count(), help="engines that work side by side (one per core)")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    for name in ("puzzles", "nodes", "processes"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    check_output(output, arguments.overwrite)
    started = time.monotonic()
    with Stockfish() as engine:
        recorded = {"engine": engine.name, "seed": arguments.seed, "nodes": arguments.nodes}
    with ResumableJob(output, recorded) as work:
        try:
            puzzles = mine(arguments, work)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{work.folder} keeps the finished part; the same command continues"
            ) from None
        write_puzzles(output, puzzles)
        work.remove()
    seconds = time.monotonic() - started
    print(f"{output}: {len(puzzles)} puzzles, {output.stat().st_size / 1000:.0f} kB, {seconds:.0f} s")


if __name__ == "__main__":
    command(main)
