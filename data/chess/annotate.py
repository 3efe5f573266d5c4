"""Label every legal move of many positions with Stockfish's win probability: one Parquet row per board.

The labels follow ChessBench (arXiv 2402.04494), except that one search per board ranks all of its moves,
which in the same time agrees better with long searches than one search per move.

    python -m data.chess.annotate --positions selfplay --boards 5000 --output boards.parquet --processes 2
"""

import argparse
import contextlib
import functools
import hashlib
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import chess
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output, digest
from cli.options import add_seed_option, add_skip_bad_games_option, positive_int
from data.chess.engine_work import Skipped, results_in_order
from data.chess.positions import (
    POSITIONS_PER_GAME,
    ReadPositions,
    distinct_positions,
    positions_of_boards,
    read_positions,
    sample_game,
)
from data.chess.ray_work import ray_results_in_order
from data.chess.rows import Row, write_rows
from data.chess.selfplay import play_game
from data.chess.stockfish import Stockfish, label_moves
from data.parquet import list_files
from data.resumable_job import ResumableJob
from data.text_files import TextSource


# Self-play gives up if the engine crashes in each of its first games.
CRASHED_GAMES = 10
# `function(engine, item)` for every item, in order.
ResultsInOrder = Callable[[Callable[[Any, Any], Any], Iterable[Any]], Iterator[Any]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.annotate",
        description="Label every legal move of many chess positions with Stockfish's win probability for the "
        "side to move. After an interruption or a crash the same command continues. The rows do not depend "
        "on the number of processes or interruptions.",
    )
    add = parser.add_argument
    add(
        "--positions",
        required=True,
        help="games.pgn, book.epd or fens.txt (one FEN per line), also compressed; - for standard input; "
        "or selfplay",
    )
    add("--output", required=True, type=Path, help="the Parquet file to write")
    add(
        "--nodes-per-move",
        type=positive_int,
        default=1000,
        metavar="N",
        help="search effort: nodes searched per legal move (default: 1000)",
    )
    add(
        "--boards",
        type=positive_int,
        metavar="N",
        help="number of boards to label (default: all of a file; required with selfplay)",
    )
    add(
        "--per-game",
        type=positive_int,
        default=POSITIONS_PER_GAME,
        metavar="N",
        help=f"positions sampled from each game of a PGN or of self-play (default: {POSITIONS_PER_GAME})",
    )
    add_skip_bad_games_option(parser)
    add("--exclude", type=Path, help="a Parquet file or a folder of boards to leave out, such as a test set")
    add_seed_option(parser, "the games of self-play and of the samples")
    add(
        "--processes",
        type=positive_int,
        default=os.cpu_count(),
        metavar="N",
        help="number of engines (default: one per core)",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="use the machines of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT, with one engine per CPU "
        "instead of --processes; local starts Ray on this machine alone",
    )
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    if arguments.positions == "selfplay" and arguments.boards is None:
        parser.error("--positions selfplay needs --boards, the number of boards to label")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    # A pipe can be read only once.
    is_pipe = arguments.positions != "selfplay" and TextSource(arguments.positions).is_stream
    piped = _read_positions(arguments) if is_pipe else None
    recorded = _arguments_of_output(arguments, piped)
    with ResumableJob(arguments.output, recorded) as job, _workers(arguments, recorded["engine"]) as results:
        annotate(arguments, job, results, piped)


def annotate(
    arguments: argparse.Namespace, job: ResumableJob, results: ResultsInOrder, piped: ReadPositions | None
) -> None:
    """Label the positions, `piped` or those that the arguments name, and write the output."""
    started = time.monotonic()
    fens = _positions(arguments, job, results, piped)
    if not fens:
        raise InputError(f"{arguments.positions} has no position with a legal move: nothing to label")
    log = job.log("labels")
    num_earlier = len(log)
    labels = results(functools.partial(label, nodes_per_move=arguments.nodes_per_move), fens[num_earlier:])
    for fen, result in zip(
        fens[num_earlier:],
        tqdm(labels, desc="labelling", unit=" boards", total=len(fens), initial=num_earlier, smoothing=0.05),
        strict=True,
    ):
        if isinstance(result, Skipped):
            tqdm.write(f"warning: skipped {fen}: {result.reason} at each attempt", file=sys.stderr)
            result = None
        log.append(result)
    num_moves = sum(len(label[0]) for label in log if label)
    if num_moves == 0:
        raise _engine_error(job)
    rows = (Row(fen, *label) for fen, label in zip(fens, log, strict=True) if label)
    num_rows = write_rows(arguments.output, rows)
    print(
        f"{arguments.output}: {num_rows} boards, {num_moves} moves, "
        f"{arguments.output.stat().st_size / 1000:.0f} kB, {time.monotonic() - started:.0f} s"
    )
    if num_rows < len(fens):
        print(
            f"warning: {len(fens) - num_rows} positions have no row because the engine crashed on them",
            file=sys.stderr,
        )


def label(engine: Stockfish, fen: str, nodes_per_move: int) -> tuple[list[str], list[float]]:
    """Return the legal moves and win probabilities of a FEN; see `label_moves`."""
    return label_moves(engine, chess.Board(fen), nodes_per_move)


def selfplay_positions(engine: Stockfish, game: int, seed: int, per_game: int) -> list[str]:
    """Return positions sampled from game number `game` of self-play."""
    return sample_game(play_game(engine, seed, game), per_game, random.Random(f"sample {seed} {game}"))


def _workers(
    arguments: argparse.Namespace, engine_name: str
) -> contextlib.AbstractContextManager[ResultsInOrder]:
    """Return the processes of this machine, or a Ray cluster."""
    if arguments.ray is None:
        return contextlib.nullcontext(functools.partial(results_in_order, processes=arguments.processes))
    return ray_results_in_order(arguments.ray, arguments.processes, engine_name)


def _read_positions(arguments: argparse.Namespace) -> ReadPositions:
    return read_positions(arguments.positions, arguments.per_game, arguments.seed, arguments.skip_bad_games)


def _positions(
    arguments: argparse.Namespace, job: ResumableJob, results: ResultsInOrder, piped: ReadPositions | None
) -> list[str]:
    """Return the positions to label, chosen now or by an earlier run."""
    chosen = job.folder / "positions.txt"
    if not chosen.exists():
        exclude = positions_of_boards(arguments.exclude) if arguments.exclude else []
        if arguments.positions == "selfplay":
            fens = _play(arguments, job, results, exclude)
        else:
            read = piped or _read_positions(arguments)
            if read.num_games is not None:
                print(
                    f"positions taken: {len(read.fens)} of {read.num_positions}, up to {arguments.per_game} "
                    f"of each game (--per-game); games: {read.num_games}"
                )
            fens = list(distinct_positions(read.fens, exclude))
            num_read, num_distinct = len(read.fens), len(fens)
            if num_distinct < num_read:
                print(f"positions left out, repeated or excluded: {num_read - num_distinct} of {num_read}")
            if arguments.boards is not None and arguments.boards < num_distinct:
                print(f"positions of a random sample (--boards): {arguments.boards} of {num_distinct}")
                kept = sorted(random.Random(arguments.seed).sample(range(num_distinct), arguments.boards))
                fens = [fens[index] for index in kept]
        with atomic_write(chosen) as unfinished:
            unfinished.write_text("".join(fen + "\n" for fen in fens))
    return chosen.read_text().splitlines()


def _play(
    arguments: argparse.Namespace, job: ResumableJob, results: ResultsInOrder, exclude: list[str]
) -> list[str]:
    """Play games until they have given enough positions."""
    log = job.log("games")
    play = functools.partial(selfplay_positions, seed=arguments.seed, per_game=arguments.per_game)

    def sampled() -> Iterator[str]:
        for fens in log:
            yield from fens
        for fens in results(play, itertools.count(len(log))):
            if isinstance(fens, Skipped):
                tqdm.write(f"warning: skipped a game of self-play: {fens.reason}", file=sys.stderr)
                fens = []
            log.append(fens)
            if len(log) >= CRASHED_GAMES and not any(log):
                raise _engine_error(job)
            yield from fens

    enough = itertools.islice(distinct_positions(sampled(), exclude), arguments.boards)
    fens = list(tqdm(enough, desc="playing", unit=" positions", total=arguments.boards))
    print(f"positions: {len(fens)}, up to {arguments.per_game} of each game (--per-game); games: {len(log)}")
    return fens


def _engine_error(job: ResumableJob) -> InputError:
    return InputError(
        f"the engine crashed on every position: delete {job.folder}, and install another Stockfish or set "
        "the environment variable STOCKFISH to its path"
    )


def _arguments_of_output(arguments: argparse.Namespace, piped: ReadPositions | None) -> dict[str, Any]:
    """Return every argument that affects the output, to verify on resume."""
    with Stockfish() as engine:
        recorded: dict[str, Any] = {"engine": engine.name}
    for name in ("positions", "nodes_per_move", "boards", "per_game", "seed"):
        recorded[name] = getattr(arguments, name)
    if arguments.skip_bad_games:
        recorded["skip_bad_games"] = True
    if piped:
        recorded["positions"] = "a pipe"
        recorded["sha256 of positions"] = hashlib.sha256("\n".join(piped.fens).encode()).hexdigest()
    try:
        if not piped and arguments.positions != "selfplay":
            recorded["digest of positions"] = digest([Path(arguments.positions)])
        if arguments.exclude:
            recorded["digest of exclude"] = digest(list_files(arguments.exclude))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    return recorded


if __name__ == "__main__":
    command(main)
