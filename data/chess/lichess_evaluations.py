"""Convert Lichess's evaluations, of hundreds of millions of positions, to rows of action and state values.

    python -m data.chess.lichess_evaluations lichess_db_eval.jsonl.zst --output runs/lichess
    python -m data.chess.lichess_evaluations Lichess/chess-position-evaluations --output runs/lichess \\
        --boards 1000000 --state-values runs/lichess_states
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import positive_int
from data.chess.lichess_sources import HUB_NAME, Block, Source, Variations, open_source
from data.resumable_job import ResumableJob
from data.worker_pool import map_in_order


if TYPE_CHECKING:
    from data.chess.lichess_rows import Converted


BLOCKS_PER_PART = 64  # of JSON lines about 262,000 positions
SUMMARY = {
    "broken": "positions skipped: not a position with evaluations",
    "chess960": "positions skipped: castling of Chess960",
    "impossible": "positions skipped: impossible in chess",
    "without_move": "positions skipped: no variation with a score and a legal move",
    "duplicates": "positions skipped: repeated, the first counts",
    "without_score": "variations skipped: no score",
    "not_moves": "variations skipped: they do not begin with a move in UCI notation",
    "illegal": "variations skipped: the move is illegal",
    "repeated": "variations skipped: an earlier one begins with the same move",
    "castlings": "castling moves were king takes rook, and are the king's move now",
    "mates": "values are those of mates, 1 or 0",
}


def convert_evaluations(
    source: Source,
    output: Path,
    states: Path | None = None,
    *,
    num_boards: int | None = None,
    processes: int = 1,
) -> Counter[str]:
    """Write the rows of all positions, or of the first `num_boards`, to folders of Parquet files.

    `output` gets action values, `states` state values of the same positions. Return the counts of SUMMARY,
    and those of positions read, of boards and of action values. An interrupted conversion continues from
    `<output>.partial`. Raises InputError for a damaged source, after the rows before the fault were written.
    """
    # It imports torch, which takes seconds.
    from data.chess.lichess_parts import Parts

    arguments = source.identity | {"boards": num_boards, "state values": states is not None}
    with ResumableJob(output, arguments) as job:
        parts, log = Parts(job.folder, states is not None), job.log("parts")
        counts, end = Counter[str](), None
        for earlier in log:
            counts, end = counts + Counter(earlier["counts"]), earlier["end"]
        waiting: list[Converted] = []

        def write() -> None:
            parts.write(len(log), waiting)
            log.append({"end": end, "counts": sum((block.counts for block in waiting), Counter())})
            waiting.clear()

        blocks = map_in_order(functools.partial(_convert, source.parse), source.blocks(end), processes)
        try:
            while num_boards is None or counts["boards"] < num_boards:
                end, converted = next(blocks, (end, None))
                if converted is None:
                    break
                if num_boards is not None:
                    converted = converted.first(num_boards - counts["boards"])
                waiting.append(converted)
                counts += converted.counts
                if len(waiting) == BLOCKS_PER_PART:
                    write()
        except InputError as error:
            if not counts["boards"]:
                raise
            if waiting:
                write()
            raise InputError(
                f"{error}; Parquet files in {parts.actions} hold the {counts['boards']} boards before it; "
                "the same command continues"
            ) from None
        finally:
            blocks.close()
        if waiting:
            write()
        if counts["boards"]:
            counts["duplicates"] = parts.drop_repeated(len(log))
            counts["action_values"] = parts.count_action_values()
            if states is not None:
                parts.save_states(states)
            parts.actions.rename(output)
    return counts


def _convert(parse: Callable[[Any], Variations], block: Block) -> tuple[list[int], Converted]:
    from data.chess.lichess_rows import convert

    return block.end, convert(parse(block.content))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.lichess_evaluations",
        description="Convert Lichess's evaluations of positions to a folder of Parquet files that training "
        "reads, one row per position: the first moves of the variations of its deepest evaluation, with the "
        "win probability of the side to move. After an interruption the same command continues.",
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="lichess_db_eval.jsonl.zst of database.lichess.org, also decompressed, or - for standard input; "
        f"or {HUB_NAME}, which is read from the hub as far as it is needed; or Parquet files of that kind",
    )
    add("--output", required=True, type=Path, metavar="FOLDER", help="the folder to write")
    add(
        "--state-values",
        type=Path,
        metavar="FOLDER",
        help="also write rows of state values, of the same positions, to this folder",
    )
    add("--boards", type=positive_int, metavar="N", help="stop after N positions (default: all)")
    add(
        "--processes",
        type=positive_int,
        default=os.cpu_count(),
        metavar="N",
        help="worker processes (default: one per core)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    output, states = arguments.output, arguments.state_values
    if states is not None:
        one, other = output.resolve(), states.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise InputError(
                f"--output {output} and --state-values {states}: give two folders, neither in the other"
            )
    for folder in filter(None, (output, states)):
        if folder.exists():
            raise InputError(f"{folder} exists: choose another folder, or delete it")
        check_output(folder / "positions.parquet", overwrite=False)
    started = time.monotonic()
    counts = convert_evaluations(
        open_source(arguments.source),
        output,
        states,
        num_boards=arguments.boards,
        processes=arguments.processes,
    )
    for name, text in SUMMARY.items():
        if counts[name]:
            print(f"{counts[name]:>12,} {text}")
    if not counts["boards"]:
        raise InputError(f"{arguments.source}: none of {counts['positions']} positions can be used")
    seconds = time.monotonic() - started
    size = sum(path.stat().st_size for path in output.iterdir())
    print(
        f"{output}: {counts['boards'] - counts['duplicates']:,} boards of {counts['positions']:,} positions, "
        f"{counts['action_values']:,} action values, {size / 1e6:.1f} MB, {seconds:.0f} s"
    )


if __name__ == "__main__":
    command(main)
