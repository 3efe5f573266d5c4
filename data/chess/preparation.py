"""Turn a Parquet file of chess boards, or a folder of them, into checked, memory-mapped arrays, once.

    python -m data.chess.preparation boards.parquet

Training calls `prepare`; data/chess/boards.py reads the arrays.
"""

import argparse
import functools
from pathlib import Path
from typing import get_args

import numpy as np

from cli.errors import command
from cli.options import positive_int
from data.chess.rows import Target
from data.hub import local_files
from data.prepared_folder import make_once, read_meta


FORMAT, VERSION = "prepared chess boards", 2


def prepare(
    parquet: str | Path,
    folder: str | Path | None = None,
    check_moves: bool = True,
    processes: int | None = None,
    target: Target = "action_value",
) -> Path:
    """Prepare a Parquet file, or a folder of them, for training; return the folder of arrays.

    `Boards.load` reads action values, and `StateExamples.load` the other targets. The default `folder` is
    `<parquet>.prepared`, or `<parquet>.state_value.prepared` with another target. Nothing is done if it holds
    arrays of the same source files, by sizes and modification times, that were checked as strictly. When
    several processes call this together, one works and the others wait. Raises InputError for bad rows, and
    for a folder that cannot be written or that holds anything else.
    """
    parquet = Path(parquet)
    kind = "" if target == "action_value" else f".{target}"
    default = parquet.with_name(f"{parquet.name}{kind}.prepared")
    folder = (default if folder is None else Path(folder)).resolve()
    write = _write if target == "action_value" else functools.partial(_write_states, target)
    facts = {"target": target, "moves_checked": check_moves}
    return make_once(
        folder,
        parquet,
        FORMAT,
        VERSION,
        lambda unfinished: facts | write(parquet, unfinished, check_moves, processes),
        lambda meta: meta.get("target") == target and (meta.get("moves_checked") or not check_moves),
    )


def _write(parquet: Path, folder: Path, check_moves: bool, processes: int | None) -> dict[str, int]:
    # These import torch, which takes seconds; that the source exists has been checked before.
    from data.chess.checked_rows import read_chunks
    from models.chess_tokens import BOARD_LENGTH

    with (
        _GrowingArray(folder / "tokens.npy", np.uint8, BOARD_LENGTH) as tokens,
        _GrowingArray(folder / "offsets.npy", np.int64) as offsets,
        _GrowingArray(folder / "actions.npy", np.uint16) as actions,
        _GrowingArray(folder / "win_probs.npy", np.float32) as win_probs,
        _GrowingArray(folder / "unlabelled_offsets.npy", np.int64) as unlabelled_offsets,
        _GrowingArray(folder / "unlabelled.npy", np.uint16) as unlabelled,
    ):
        offsets.append(np.zeros(1, dtype=np.int64))
        unlabelled_offsets.append(np.zeros(1, dtype=np.int64))
        for chunk in read_chunks(parquet, check_moves, processes):
            tokens.append(chunk.tokens)
            offsets.append(actions.length + np.cumsum(chunk.lengths))
            actions.append(chunk.actions)
            win_probs.append(chunk.win_probs)
            unlabelled_offsets.append(unlabelled.length + np.cumsum(chunk.unlabelled_lengths))
            unlabelled.append(chunk.unlabelled)
    return {"num_boards": tokens.length, "num_action_values": actions.length}


def _write_states(
    target: Target, parquet: Path, folder: Path, check_moves: bool, processes: int | None
) -> dict[str, int]:
    from data.chess.states import read_states
    from models.chess_tokens import BOARD_LENGTH

    kind = np.float32 if target == "state_value" else np.uint16
    with (
        _GrowingArray(folder / "tokens.npy", np.uint8, BOARD_LENGTH) as tokens,
        _GrowingArray(folder / "labels.npy", kind) as labels,
    ):
        for chunk in read_states(parquet, target, check_moves, processes):
            tokens.append(chunk.tokens)
            labels.append(chunk.labels)
    return {"num_boards": tokens.length}


class _GrowingArray:
    """A .npy file that grows; its header is completed at the end."""

    def __init__(self, path: Path, dtype: type, *shape_of_item: int):
        self.length = 0
        self._dtype, self._shape_of_item = np.dtype(dtype), shape_of_item
        self._file = path.open("wb")
        self._write_header()

    def __enter__(self) -> "_GrowingArray":
        return self

    def append(self, items: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(items, dtype=self._dtype).data)
        self.length += len(items)

    def __exit__(self, *exception: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        # NumPy pads the header so that the first dimension can grow in place.
        shape = (self.length, *self._shape_of_item)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.preparation",
        description="Check a file of chess boards and turn it into arrays that training reads from disk. "
        "Training does this too; run it beforehand to choose the folder or to find faults early.",
    )
    parser.add_argument(
        "parquet", help="a Parquet file, a folder of them, or a dataset on the hub such as user/name"
    )
    parser.add_argument(
        "--target",
        choices=get_args(Target),
        default="action_value",
        help="the target of the training that reads the arrays, its data.target (default: action_value)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="the folder for the arrays (default: PARQUET.prepared; PARQUET.TARGET.prepared with --target)",
    )
    parser.add_argument(
        "--check-moves",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="check that every move is legal, which takes most of the time (default: yes)",
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        metavar="N",
        help="worker processes (default: one per core for large files)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    parquet = local_files(arguments.parquet, "train")
    folder = prepare(parquet, arguments.folder, arguments.check_moves, arguments.processes, arguments.target)
    meta = read_meta(folder, FORMAT)
    checked = "moves checked" if meta["moves_checked"] else "moves not checked"
    values = f", {meta['num_action_values']:,} action values" if arguments.target == "action_value" else ""
    print(f"{folder}: {meta['num_boards']:,} boards{values}, {checked}")


if __name__ == "__main__":
    command(main)
