"""A PGN file that grows by whole games, whatever interrupts the writing."""

import io
import os
from pathlib import Path

import chess
import chess.pgn
import pytest

from cli.errors import InputError
from eval.chess.game_log import GameLog
from eval.chess.games import PlayedGame, Resignation
from tests.eval.chess.test_games import START, play
from tests.support.commands import file_size_limit


@pytest.fixture(scope="module")
def games() -> list[PlayedGame]:
    """Play four short games, which differ by their number of moves."""
    moves = ("e2e4", "e7e5", "g1f3", "b8c6")
    return [play(START, *moves[:number], Resignation(), Round=str(number)) for number in range(1, 5)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "games.pgn"


def texts(games: list[PlayedGame]) -> str:
    return "".join(game.pgn for game in games)


def written(path: Path, games: list[PlayedGame]) -> GameLog:
    log = GameLog(path)
    log.append(games)
    log.close()
    return log


def test_games_are_in_the_file_as_soon_as_they_are_appended(path, games):
    log = GameLog(path)
    for number in range(4):
        log.append(games[number : number + 1])
        assert path.read_text() == texts(games[: number + 1])
        assert len(log) == number + 1


def test_the_file_is_read_by_python_chess(path, games):
    written(path, games)
    text = io.StringIO(path.read_text())
    read = [chess.pgn.read_game(text) for _ in games]
    assert [game.headers["Round"] for game in read] == ["1", "2", "3", "4"]
    assert chess.pgn.read_game(text) is None


def test_a_log_goes_on_after_the_games_that_were_there(path, games):
    written(path, games[:2])
    log = GameLog(path)
    assert [headers["Round"] for headers in log.headers] == ["1", "2"]
    assert log.headers[1]["Result"] == games[1].result and log.headers[1]["White"] == "first"
    assert len(log) == 2
    log.append(games[2:])
    assert path.read_text() == texts(games)


def test_looking_at_a_log_leaves_it_as_it_is(path, games):
    written(path, games)
    before = path.stat()
    GameLog(path).close()
    GameLog(path, overwrite=True).close()
    assert path.read_text() == texts(games) and path.stat().st_mtime_ns == before.st_mtime_ns


def test_the_last_game_is_given_up_wherever_it_was_cut_off(path, games):
    whole = texts(games[:2]).encode()
    last = games[2].pgn.encode()
    for length in range(len(last)):
        path.write_bytes(whole + last[:length])
        log = GameLog(path)
        assert [headers["Round"] for headers in log.headers] == ["1", "2"], last[:length]
        log.append(games[3:])
        log.close()
        assert path.read_text() == texts([*games[:2], games[3]])


def test_a_file_without_a_whole_game_is_refused_since_it_may_be_another_one(path, games):
    path.write_text(games[0].pgn[:-20])
    with pytest.raises(InputError, match="not a PGN file of this command"):
        GameLog(path)
    assert path.read_text() == games[0].pgn[:-20]


def test_a_second_run_on_the_same_file_is_refused(path, games):
    log = GameLog(path)
    with pytest.raises(InputError, match="in use by another run"):
        GameLog(path)
    log.close()
    GameLog(path).close()


def test_only_the_games_kept_stay_in_the_file(path, games):
    written(path, games[:3])
    log = GameLog(path)
    log.keep(1)
    assert len(log) == len(log.headers) == 1
    assert path.read_text() == texts(games[:3])
    log.append(games[3:])
    assert path.read_text() == texts([games[0], games[3]])


def test_overwriting_begins_with_the_first_game(path, games):
    written(path, games[:2])
    log = GameLog(path, overwrite=True)
    assert len(log) == 0 and log.headers == []
    assert path.read_text() == texts(games[:2])
    log.append(games[2:3])
    log.append(games[3:])
    assert path.read_text() == texts(games[2:])


@pytest.mark.parametrize(
    "content", [b"precious notes\n\n", b'{"elo": 1500}', b"\xff\xfe\x00binary", b"\n\n1. e4 *"]
)
def test_a_file_of_something_else_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"games\.pgn is not a PGN file of this command: choose another file"
    ):
        GameLog(path)
    assert path.read_bytes() == content


def test_games_after_a_damaged_one_are_not_thrown_away(path, games):
    damaged = games[1].pgn.replace(games[1].result + "\n\n", "\n\n")
    content = games[0].pgn + damaged + texts(games[2:])
    path.write_text(content)
    with pytest.raises(InputError, match="is not a PGN file of this command"):
        GameLog(path)
    assert path.read_text() == content


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="a folder in which nobody can write, also root")
def test_a_folder_without_permission_is_refused():
    with pytest.raises(InputError, match=r"/proc/games\.pgn cannot be written: .*; choose another file"):
        GameLog("/proc/games.pgn")


def test_a_disk_that_is_full_takes_all_games_of_an_append_or_none(path, games):
    log = GameLog(path)
    log.append(games[:2])
    fault = "cannot be written: File too large; the 2 games before are in it"
    with file_size_limit(len(texts(games[:3])) + 50), pytest.raises(InputError, match=fault):
        log.append(games[2:])
    assert path.read_text() == texts(games[:2])
    log.append(games[2:])
    assert path.read_text() == texts(games)
