"""Lichess's evaluations become rows: of the deepest one, for the side to move; faults are counted."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess import lichess_evaluations, lichess_parts, lichess_sources
from data.chess.boards import Boards
from data.chess.lichess_evaluations import convert_evaluations
from data.chess.lichess_rows import convert
from data.chess.lichess_sources import Source, open_source, parse_lines
from data.chess.rows import SCHEMA, STATE_VALUES
from data.chess.stockfish import win_prob_from_centipawns
from tests.support.commands import assert_input_error, file_size_limit, run_command
from tests.support.hub_server import HubServer, Repository
from tests.support.random_boards import random_rows


COMMAND = "data.chess.lichess_evaluations"
DATASET = "Lichess/chess-position-evaluations"
# The example of database.lichess.org/#evals, shortened.
EXAMPLE = {
    "fen": "7r/1p3k2/p1bPR3/5p2/2B2P1p/8/PP4P1/3K4 b - -",
    "evals": [
        {"pvs": [{"cp": 311, "line": "h8h7"}, {"cp": 69, "line": "f7g7 e6e2"}], "knodes": 9, "depth": 30},
        {"pvs": [{"cp": 69, "line": "f7g7 e6e2"}, {"cp": 163, "line": "h8d8"}], "knodes": 9, "depth": 36},
        {"pvs": [{"cp": 50, "line": "c6b5 a2a4"}], "knodes": 99, "depth": 36},
    ],
}
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq -"
CASTLING = "r3k2r/8/8/8/8/8/8/R3K2R w KQkq -"


def evaluated(fen: str, *variations: dict, depth: int = 20) -> dict:
    return {"fen": fen, "evals": [{"pvs": list(variations), "knodes": 1, "depth": depth}]}


def rows_of(*positions: dict) -> tuple[list[dict], list[dict], dict[str, int]]:
    """Convert positions; return the rows of both kinds, and the counts that are not 0."""
    converted = convert(parse_lines("\n".join(map(json.dumps, positions))))
    counts = {name: count for name, count in converted.counts.items() if count}
    return converted.actions.to_pylist(), converted.states.to_pylist(), counts


def test_the_deepest_evaluation_with_most_variations_counts_for_the_side_to_move():
    actions, states, _ = rows_of(EXAMPLE)
    expected = [win_prob_from_centipawns(-cp) for cp in (69, 163)]
    assert [(row["fen"], row["moves"]) for row in actions] == [(f"{EXAMPLE['fen']} 0 1", ["f7g7", "h8d8"])]
    np.testing.assert_allclose(actions[0]["win_probs"], expected, rtol=1e-6)
    assert states == [{"fen": f"{EXAMPLE['fen']} 0 1", "win_prob": pytest.approx(expected[0])}]


def test_a_mate_is_a_certain_win_or_loss():
    white = {"mate": 3, "line": "e2e4"}, {"cp": 0, "line": "d2d4"}, {"mate": -2, "line": "f2f3"}
    actions, states, counts = rows_of(evaluated(START, *white))
    assert (actions[0]["win_probs"], states[0]["win_prob"]) == ([1.0, 0.5, 0.0], 1.0)
    assert counts["mates"] == 2


def test_castling_as_king_takes_rook_becomes_the_move_of_the_king():
    black = CASTLING.replace(" w ", " b ")
    lines = [{"cp": 0, "line": f"{move} a1a2"} for move in ("e1h1", "e1a1", "a1b1")]
    replies = [{"cp": 0, "line": move} for move in ("e8h8", "e8a8")]
    # Here a rook moves from e1 to h1.
    rook = evaluated("k7/8/8/8/8/8/3K4/4R3 w - -", {"cp": 0, "line": "e1h1"})
    actions, _, counts = rows_of(evaluated(CASTLING, *lines), evaluated(black, *replies), rook)
    assert [row["moves"] for row in actions] == [["e1g1", "e1c1", "a1b1"], ["e8g8", "e8c8"], ["e1h1"]]
    assert counts["castlings"] == 4


GOOD = {"cp": 0, "line": "e2e4"}
VARIATIONS = {
    "without_score": {"line": "d2d4"},
    "not_moves": {"cp": 0, "line": "Nf3"},
    "illegal": {"cp": 0, "line": "e2e5"},
    "repeated": {"cp": -5, "line": "e2e4 e7e5"},
}
POSITIONS = {
    "broken": {"fen": START, "evals": []},
    "chess960": evaluated("1r2k2r/8/8/8/8/8/8/1R2K2R w HBhb -", {"cp": 0, "line": "b1b2"}),
    # Kings that castle from elsewhere.
    "chess960 ": evaluated("1k5r/8/8/8/8/8/8/1K5R w Kk -", {"cp": 0, "line": "h1h2"}),
    "impossible": evaluated("8/8/8/8/8/8/4P3/4K3 w - -", {"cp": 0, "line": "e2e4"}),
    "without_move": evaluated(START, {"cp": 0, "line": "e2e5"}),
    "broken ": evaluated("4k3/8/8 w - -", {"cp": 0, "line": "e1e2"}),
}


@pytest.mark.parametrize("fault", VARIATIONS)
def test_a_faulty_variation_is_skipped_and_counted(fault):
    actions, _, counts = rows_of(evaluated(START, GOOD, VARIATIONS[fault]))
    assert [row["moves"] for row in actions] == [["e2e4"]]
    assert counts == {"positions": 1, "boards": 1, "action_values": 1, fault: 1}


@pytest.mark.parametrize("fault", POSITIONS)
def test_a_faulty_position_is_skipped_and_counted(fault):
    actions, states, counts = rows_of(POSITIONS[fault], EXAMPLE)
    assert len(actions) == len(states) == counts["boards"] == 1
    assert (counts["positions"], counts[fault.strip()]) == (2, 1)


def test_lines_that_are_not_json_are_skipped_and_counted():
    text = "\n".join([json.dumps(EXAMPLE), '{"fen": "8/8', "", "[1]", '{"fen": 3}', json.dumps(EXAMPLE)])
    counts = convert(parse_lines(text)).counts
    assert (counts["positions"], counts["boards"], counts["broken"]) == (5, 2, 3)


def make_positions(number: int) -> list[dict]:
    """Return positions of random play with one to three variations."""
    positions = []
    for index, row in enumerate(random_rows(number, seed=5)):
        scores = zip(row.moves[: 1 + index % 3], range(-90, 100, 20), strict=False)
        lines = [{"cp": cp, "line": f"{move} a2a3"} for move, cp in scores]
        positions.append(evaluated(" ".join(row.fen.split()[:4]), *lines, depth=index))
    return positions


def write_lines(path: Path, positions: list[dict]) -> Path:
    with pa.output_stream(path, compression="zstd" if path.suffix == ".zst" else None) as file:
        file.write("".join(json.dumps(position) + "\n" for position in positions).encode())
    return path


def write_dataset(folder: Path, positions: list[dict], cut: int) -> list[Path]:
    """Write one row per variation to two files, the second of which begins with row `cut`."""
    rows = [
        {"fen": p["fen"], "line": pv["line"], "depth": e["depth"], "knodes": 1, "cp": pv["cp"], "mate": None}
        for p in positions
        for e in p["evals"]
        for pv in e["pvs"]
    ]
    types = [(name, pa.string() if name in ("fen", "line") else pa.int64()) for name in rows[0]]
    folder.mkdir()
    paths = [folder / f"train-0000{i}-of-00002.parquet" for i in range(2)]
    for path, part in zip(paths, (rows[:cut], rows[cut:]), strict=True):
        pq.write_table(pa.Table.from_pylist(part, pa.schema(types)), path)
    return paths


def read(folder: Path) -> list[dict]:
    return pq.read_table(folder).to_pylist()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(lichess_sources, "POSITIONS_PER_BLOCK", 4)
    monkeypatch.setattr(lichess_sources, "ROWS_PER_BLOCK", 5)
    monkeypatch.setattr(lichess_evaluations, "BLOCKS_PER_PART", 2)


def test_lines_and_the_rows_of_the_dataset_give_the_same_rows(tmp_path, small_blocks):
    positions = make_positions(50)
    positions[-1]["evals"][0]["pvs"][0]["cp"] = 2**53 + 1  # not exact as float64
    lines = write_lines(tmp_path / "evals.jsonl.zst", positions)
    write_dataset(tmp_path / "dataset", positions, cut=34)  # within a position
    for source, name in ((lines, "lines"), (tmp_path / "dataset", "rows")):
        counts = convert_evaluations(open_source(str(source)), tmp_path / name, tmp_path / f"{name}_states")
        assert (counts["positions"], counts["boards"]) == (50, 50)
    assert read(tmp_path / "lines") == read(tmp_path / "rows")
    assert read(tmp_path / "lines_states") == read(tmp_path / "rows_states")
    assert pq.read_schema(next((tmp_path / "lines").iterdir())).equals(SCHEMA)
    assert pq.read_schema(next((tmp_path / "lines_states").iterdir())).equals(STATE_VALUES)
    boards = Boards.from_parquet(tmp_path / "lines")
    assert (boards.num_boards, boards.num_action_values) == (50, counts["action_values"])


@pytest.mark.parametrize("kind", ["lines", "rows"])
def test_an_interrupted_conversion_continues(tmp_path, small_blocks, kind):
    positions = make_positions(50)
    if kind == "lines":
        name = write_lines(tmp_path / "evals.jsonl", positions)
    else:
        name = tmp_path / "dataset"
        write_dataset(name, positions, cut=34)
    convert_evaluations(open_source(str(name)), tmp_path / "whole")
    source = open_source(str(name))

    def broken_off(end):
        for number, block in enumerate(source.blocks(end)):
            if number == 5:
                raise InputError("the connection was lost")
            yield block

    with pytest.raises(InputError, match=r"the connection was lost; Parquet files in .* hold the"):
        convert_evaluations(Source(source.identity, broken_off, source.parse), tmp_path / "boards")
    assert (
        read(tmp_path / "boards.partial/actions")
        == read(tmp_path / "whole")[: len(read(tmp_path / "boards.partial/actions"))]
    )
    # As a run that is killed leaves it.
    (tmp_path / "boards.partial/actions/.positions-00003.unfinished-1.parquet").touch()
    convert_evaluations(open_source(str(name)), tmp_path / "boards")
    assert read(tmp_path / "boards") == read(tmp_path / "whole")
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("boards", "whole")]
    assert names[0] == names[1]
    assert not (tmp_path / "boards.partial").exists()


def test_a_full_disk_keeps_the_parts_before_it_and_is_continued_to_the_same_bytes(tmp_path, small_blocks):
    kings = [
        evaluated(f"7k/8/8/8/8/8/8/{number or ''}K{7 - number or ''} w - -", {"cp": 0, "line": f"{f}1{f}2"})
        for number, f in enumerate("abcdefgh")
    ]
    file = write_lines(tmp_path / "evals.jsonl", kings + make_positions(20))
    convert_evaluations(open_source(str(file)), tmp_path / "whole")
    paths = sorted((tmp_path / "whole").iterdir())
    with file_size_limit(paths[0].stat().st_size), pytest.raises(OSError, match="File too large") as error:
        convert_evaluations(open_source(str(file)), tmp_path / "boards")
    assert error.value.filename == str(tmp_path / "boards.partial/actions/positions-00001.parquet")
    assert [path.name for path in (tmp_path / "boards.partial/actions").iterdir()] == [paths[0].name]
    convert_evaluations(open_source(str(file)), tmp_path / "boards")
    assert [path.read_bytes() for path in sorted((tmp_path / "boards").iterdir())] == [
        path.read_bytes() for path in paths
    ]


def test_of_a_repeated_position_the_first_counts(tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr(lichess_parts, "HASHES_AT_A_TIME", 7)
    positions = make_positions(30)
    others = [evaluated(position["fen"], GOOD) for position in positions[3:6]]
    write_lines(tmp_path / "once.jsonl", positions)
    write_lines(tmp_path / "twice.jsonl", positions + positions[:20] + others)
    counts = {}
    for name in ("once", "twice"):
        source = open_source(str(tmp_path / f"{name}.jsonl"))
        counts[name] = convert_evaluations(source, tmp_path / name, tmp_path / f"{name}_states")
    assert counts["twice"]["duplicates"] - counts["once"]["duplicates"] >= 20
    assert counts["twice"]["action_values"] == sum(len(row["moves"]) for row in read(tmp_path / "once"))
    for suffix in ("", "_states"):
        assert read(tmp_path / f"once{suffix}") == read(tmp_path / f"twice{suffix}")


def test_boards_limits_the_rows(tmp_path, small_blocks):
    lines = write_lines(tmp_path / "evals.jsonl", make_positions(50))
    counts = convert_evaluations(open_source(str(lines)), tmp_path / "boards", num_boards=10)
    rows = read(tmp_path / "boards")
    assert len(rows) == counts["boards"] == 10
    assert sum(len(row["moves"]) for row in rows) == counts["action_values"]


@pytest.mark.slow
def test_the_command_reads_the_hub_and_prints_a_summary(tmp_path):
    positions = [*make_positions(30), POSITIONS["impossible"]]
    with HubServer(tmp_path / "hub") as hub:
        files = {f"data/{p.name}": p.read_bytes() for p in write_dataset(tmp_path / "dataset", positions, 20)}
        hub.repositories["datasets", DATASET] = Repository(private=False)
        hub.repositories["datasets", DATASET].commit("main", files)
        arguments = ["--output", tmp_path / "boards", "--processes", 1]
        result = run_command(COMMAND, DATASET, *arguments, **hub.environment)
        unknown = run_command(COMMAND, "user/nothing", "--output", tmp_path / "b", **hub.environment)
    assert result.returncode == 0, result.stderr
    assert "1 positions skipped: impossible in chess" in result.stdout
    assert "boards of 31 positions" in result.stdout
    assert len(read(tmp_path / "boards")) == 30
    assert_input_error(unknown, "user/nothing", "no such dataset on the hub")


def test_a_damaged_download_keeps_the_rows_before_it_and_can_be_completed(tmp_path, monkeypatch):
    monkeypatch.setattr(lichess_sources, "POSITIONS_PER_BLOCK", 500)
    file = write_lines(tmp_path / "evals.jsonl.zst", make_positions(3000))
    whole = file.read_bytes()
    convert_evaluations(open_source(str(file)), tmp_path / "whole")
    file.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(InputError, match=r"evals\.jsonl\.zst cannot be read .*; the same command continues"):
        convert_evaluations(open_source(str(file)), tmp_path / "boards")
    assert len(read(tmp_path / "boards.partial/actions")) > 1000
    file.write_bytes(whole)
    convert_evaluations(open_source(str(file)), tmp_path / "boards")
    assert read(tmp_path / "boards") == read(tmp_path / "whole")


@pytest.mark.parametrize("states", ["boards", "boards/states", "other/../boards", "."])
def test_a_folder_for_both_kinds_of_rows_is_refused(tmp_path, states):
    lines = write_lines(tmp_path / "evals.jsonl", make_positions(3))
    folders = ["--output", tmp_path / "boards", "--state-values", f"{tmp_path}/{states}"]
    assert_input_error(run_command(COMMAND, lines, *folders), "give two folders, neither in the other")
    assert list(tmp_path.iterdir()) == [lines]


def test_bad_input_is_one_line(tmp_path):
    (tmp_path / "games.pgn").write_text('[Event "?"]\n\n1. e4 *\n')
    (tmp_path / "other.jsonl").write_text('{"game": 1}\n')
    with pytest.raises(InputError, match=r"games\.pgn does not begin with a position"):
        open_source(str(tmp_path / "games.pgn"))
    result = run_command(COMMAND, tmp_path / "other.jsonl", "--output", tmp_path / "other")
    assert_input_error(result, "other.jsonl", "does not begin with a position of lichess_db_eval.jsonl.zst")
    assert not (tmp_path / "other.partial").exists()
