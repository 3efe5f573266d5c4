"""Whichever bytes of a file or a line are changed, its reader returns or raises its documented error."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from configs.loading import CONFIG_FOLDER, load_config
from data.chess.bag_records import read_action_values
from data.chess.boards import Boards
from data.chess.fen_files import read_fen
from data.chess.positions import positions_of_boards, read_positions
from data.chess.puzzles import read_puzzles
from data.robot.episodes import read_episodes
from data.wordle.games import SCHEMA, read_games
from data.wordle.words import read_words
from eval.chess.openings import read_openings
from eval.chess.uci_protocol import ProtocolError, list_options, read_go, read_move, read_position
from tests.data.chess.test_chessbench import write_bag
from tests.support.random_boards import random_file
from tests.support.robot_data import write_robot_data


class Reader(NamedTuple):
    name: str  # of the file
    contents: Callable[[Path], bytes]
    read: Callable[[Path], object]
    num_inputs: int = 300


FEN = "rnbqkbnr/ppp1pppp/8/8/3pP3/5N2/PPPP1PPP/RNBQKB1R b KQkq e3 0 3"
EPD = 'rnbqkbnr/ppp1pppp/8/8/3pP3/5N2/PPPP1PPP/RNBQKB1R b KQkq e3 bm dxe3; id "one; two"; hmvc 0; fmvn 3;\n'
PGN = f"""[Event "A"]
[FEN "{FEN}"]

3... dxe3 {{a comment}} (3... c5 4. d3 $1) 4. fxe3 Nf6 1/2-1/2

[Event "B"]

1. e4 e5 2. Nf3 ; another
Nc6 3. Bb5 a6 4. O-O 0-1
"""
PUZZLES = """PuzzleId,FEN,Moves,Rating,Themes
03UeU,6k1/R5pp/p4p2/1p6/1P6/2P2N2/1r3PPP/6K1 w - - 0 30,a7a6 b2b1 f3e1 b1e1,574,mate mateIn2
two,6k1/5ppp/7N/8/8/8/8/RR4K1 b - - 0 1,g8h8 a1a8,1000.0,
"""
TINY = CONFIG_FOLDER / "chess_tiny.yaml"
FILE = "chunk-000/file-000.parquet"  # of a robot dataset
UCI = f"fen {FEN} moves d4e3 f2e3 g8f6"


def fixed(text: str) -> Callable[[Path], bytes]:
    return lambda folder: text.encode()


def plain_parquet(path: Path) -> bytes:
    """Write a file again without compression, so that a changed byte changes its contents."""
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False)
    return path.read_bytes()


def boards(folder: Path) -> bytes:
    random_file(folder / "boards.parquet", 3)
    return plain_parquet(folder / "boards.parquet")


def wordle_games(folder: Path) -> bytes:
    row = {"secret": "slate", "guesses": ["acute", "slate"], "feedback": ["ybbgg", "ggggg"]}
    row |= {"rewards": [-1.0, 0.0], "done": True, "policy": "me"}
    game = '{"rule": "official", "answers": ["slate", "acute"], "guesses": ["slate", "acute"]}'
    table = pa.Table.from_pylist([row, row], schema=SCHEMA.with_metadata({"wordle": game}))
    pq.write_table(table, folder / "games.parquet")
    return plain_parquet(folder / "games.parquet")


def puzzles_parquet(folder: Path) -> bytes:
    row = {"PuzzleId": "two", "FEN": "6k1/5ppp/7N/8/8/8/8/RR4K1 b - - 0 1", "Moves": "g8h8 a1a8"}
    table = pa.Table.from_pylist([row | {"Rating": 1000, "Themes": ["mate", "short"]}])
    pq.write_table(table, folder / "puzzles.parquet")
    return plain_parquet(folder / "puzzles.parquet")


def bag(folder: Path) -> bytes:
    write_bag(folder / "values.bag", [(FEN, move, 0.5) for move in ("d4e3", "c7c5", "g8f6")])
    return (folder / "values.bag").read_bytes()


def read_uci(path: Path) -> None:
    """Read a file as the words after `position`, after `go`, and as the value of every option."""
    text = path.read_bytes().decode(errors="replace")
    for option in list_options(0.0, 1.0, "all"):
        ignore(ProtocolError, lambda option=option: option.read(text))
    read_go(text.split())
    position = read_position(text.split())
    for move in position.moves:
        position.board.push(read_move(position.board, move))


def robot_file(name: str) -> Callable[[Path], bytes]:
    """Return a function that writes a robot dataset in `set` and returns the contents of a file of it."""

    def contents(folder: Path) -> bytes:
        file = write_robot_data(folder / "set", image_size=8) / name
        return plain_parquet(file) if file.suffix == ".parquet" else file.read_bytes()

    return contents


def read_robot_file(name: str) -> Callable[[Path], object]:
    """Return a function that reads the dataset in `set` with another file instead of one of its files."""

    def read(path: Path) -> object:
        folder = path.parent / "set"
        (folder / name).write_bytes(path.read_bytes())
        return read_episodes(str(folder), with_images=True)

    return read


ROBOT_FILES = ("meta/info.json", "meta/tasks.parquet", f"meta/episodes/{FILE}", f"data/{FILE}")
READERS = [
    Reader("fen.txt", fixed(FEN), lambda path: read_fen(path.read_bytes().decode("latin-1"), "--fen")),
    Reader("list.fen", fixed(f"{FEN}\n{FEN}\n"), lambda path: read_positions(path, 4, 0)),
    Reader("list.epd", fixed(2 * EPD), lambda path: (read_positions(path, 4, 0), read_openings(path))),
    Reader("games.pgn", fixed(PGN), lambda path: read_positions(path, 4, 0)),
    Reader("book.pgn", fixed(PGN), lambda path: read_openings(path, skip_bad_games=True)),
    Reader("puzzles.csv", fixed(PUZZLES), read_puzzles),
    Reader("puzzles.parquet", puzzles_parquet, read_puzzles),
    Reader("boards.parquet", boards, lambda path: (positions_of_boards(path), Boards.from_parquet(path))),
    Reader("games.parquet", wordle_games, read_games),
    Reader("values.bag", bag, lambda path: list(read_action_values(path))),
    Reader("tiny.yaml", lambda folder: TINY.read_bytes(), lambda path: load_config(str(path), []), 40),
    Reader("number.yaml", fixed("7\n"), lambda path: load_config(str(path), []), 20),
    Reader("words.txt", fixed("slate\nacute\nCRANE\n"), read_words),
    Reader("uci.txt", fixed(UCI), read_uci),
    *(
        Reader(f"{name.replace('/', '_')}", robot_file(name), read_robot_file(name), 100)
        for name in ROBOT_FILES
    ),
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change, remove or repeat a few bytes at random."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(changed) + 1)
        end = start + rng.choice((0, 1, 1, 1, 8))
        replacement = rng.choice((rng.randbytes(1), rng.choice(b'09-\n "[{(;,').to_bytes(), b"", changed[:9]))
        changed[start:end] = replacement
    return bytes(changed)


def ignore(documented: type[Exception], call: Callable[[], object]) -> None:
    """Call a function, which may raise the documented error."""
    try:
        call()
    except documented as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_input_raises_the_documented_error_alone(reader, tmp_path):
    data = reader.contents(tmp_path)
    path = tmp_path / reader.name
    path.write_bytes(data)
    ignore(InputError, lambda: reader.read(path))
    for seed in range(reader.num_inputs):
        path.write_bytes(mutate(data, random.Random(seed)))
        ignore((InputError, ProtocolError), lambda: reader.read(path))
