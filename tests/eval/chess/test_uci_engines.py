"""Programs behind the UCI protocol: Stockfish at all strengths, and programs that crash, hang and cheat."""

import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import chess
import psutil
import pytest
from chess.engine import Limit

from cli.errors import InputError
from data.chess.stockfish import EngineCrash, win_prob_from_centipawns
from eval.chess import uci_engines
from eval.chess.uci_engines import UciEngine, longest_search, start_stockfish
from tests.support.programs import needs


pytestmark = needs("stockfish")


MIDDLEGAME = "r1bqkbnr/pppp1ppp/2n5/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR w KQkq - 2 3"
MATED = "R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30"
NODES = Limit(nodes=100)

FAKE = """#!{python}
import os, sys, time

for line in sys.stdin:
    with open({log!r}, "a") as log:
        log.write(line)
    match line.split()[0]:
        case "uci" if {answers_uci}:
            print("id name {name}")
            for option in ("Threads", "Hash", "MultiPV"):
                print("option name " + option + " type spin default 2 min 1 max 500")
            print("option name Skill Level type spin default 20 min 0 max 20")
            print("option name UCI_LimitStrength type check default false")
            print("option name UCI_Elo type spin default 1320 min 1320 max 3190")
            print("uciok", flush=True)
        case "isready":
            {on_isready}
        case "go":
            {on_go}
        case "quit":
            break
"""
READY = 'print("readyok", flush=True)'


def fake_engine(
    folder: Path,
    on_go: str = "pass",
    on_isready: str = READY,
    answers_uci: bool = True,
    name: str = "Fake 1",
    file: str = "fake",
) -> Path:
    """Write a UCI engine that answers `go` by a line of Python; it writes what it is told to `file`.log."""
    program = folder / file
    log = str(folder / f"{file}.log")
    program.write_text(
        FAKE.format(
            python=sys.executable,
            log=log,
            name=name,
            answers_uci=answers_uci,
            on_isready=on_isready,
            on_go=on_go,
        )
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def answering(text: str) -> str:
    """Return the line of Python that prints an answer."""
    return f"print({text!r}, flush=True)"


def descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that ended can stay in the table if its parent is gone too."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_end(processes: set[psutil.Process]) -> None:
    """Assert that processes end soon. Those that do not are killed, lest they keep the tests from ending."""
    deadline = time.monotonic() + 10
    while (running := list(filter(is_running, processes))) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in running:
        process.kill()
    assert running == []


@pytest.fixture(scope="module")
def weak():
    with start_stockfish(0, None, Limit()) as engine:
        yield engine


@pytest.fixture(scope="module")
def strong():
    with start_stockfish(None, None, Limit(nodes=5000)) as engine:
        yield engine


@pytest.fixture
def child():
    """Start a Stockfish; yield it and its process."""
    before = descendants()
    with start_stockfish(0, None, Limit()) as engine:
        (process,) = descendants() - before
        yield engine, process


def test_board_without_legal_moves_has_no_choice(weak):
    with pytest.raises(ValueError, match="no legal move"):
        weak.choose(chess.Board(MATED))


@pytest.mark.parametrize(
    ("fen", "is_good"),
    [
        ("4k3/8/8/8/8/8/3QPP2/4K3 w - - 0 1", True),
        ("4k3/8/8/8/8/8/3QPP2/4K3 b - - 0 1", False),
        ("4k3/3qpp2/8/8/8/8/8/4K3 b - - 0 1", True),
        ("4k3/3qpp2/8/8/8/8/8/4K3 w - - 0 1", False),
    ],
)
def test_values_are_those_of_the_side_to_move(strong, fen, is_good):
    win_prob = strong.choose(chess.Board(fen)).win_prob
    assert win_prob > 0.9 if is_good else win_prob < 0.1


def test_mate_is_certain_and_being_mated_is_hopeless(strong):
    chosen = strong.choose(chess.Board(MIDDLEGAME))
    assert (chosen.move.uci(), chosen.win_prob) == ("h5f7", 1.0)
    assert strong.choose(chess.Board("7k/8/8/8/8/1r6/r7/7K w - - 0 1")).win_prob == 0.0


def test_centipawns_become_chessbenchs_win_probabilities(tmp_path):
    program = fake_engine(tmp_path, answering("info depth 1 score cp 137 pv e2e4\nbestmove e2e4"))
    with UciEngine([str(program)], NODES) as engine:
        assert engine.choose(chess.Board()).win_prob == win_prob_from_centipawns(137)


@pytest.mark.parametrize(
    ("options", "described"),
    [
        ((None, None, Limit()), "0.05 s"),
        ((20, None, Limit()), "0.05 s"),
        ((0, None, Limit()), "skill 0 depth 1"),
        ((19, None, Limit()), "skill 19 depth 20"),
        ((3, None, Limit(nodes=500)), "skill 3 500 nodes"),
        ((None, None, Limit(depth=4, time=0.2)), "depth 4 0.2 s"),
        ((None, 1320, Limit()), "UCI_Elo 1320 depth 3"),
        ((None, 1320, Limit(nodes=10)), "UCI_Elo 1320 10 nodes"),
    ],
)
def test_name_says_version_strength_and_limit(tmp_path, monkeypatch, options, described):
    program = fake_engine(tmp_path, name="Stockfish 16.1")
    monkeypatch.setenv("STOCKFISH", str(program))
    with start_stockfish(*options) as engine:
        assert engine.name == f"Stockfish 16.1 {described}"


def test_stockfish_is_told_its_strength_and_limit(tmp_path, monkeypatch):
    program = fake_engine(tmp_path, answering("bestmove e2e4"), name="Stockfish 16.1")
    monkeypatch.setenv("STOCKFISH", str(program))
    log = program.with_suffix(".log")
    for options, told in (
        ((3, None, Limit()), ("Skill Level value 3", "go depth 4")),
        (
            (None, 1500, Limit(nodes=70)),
            ("UCI_LimitStrength value true", "UCI_Elo value 1500", "go nodes 70"),
        ),
        ((None, None, Limit()), ("Threads value 1", "go movetime 50")),
    ):
        log.write_text("")
        with start_stockfish(*options) as engine:
            engine.choose(chess.Board())
        assert all(part in log.read_text() for part in told), log.read_text()
    assert "Skill Level" not in log.read_text() and "UCI_Elo" not in log.read_text()


def test_uci_elo_searches_deep_enough_for_the_level_it_stands_for(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKFISH", str(fake_engine(tmp_path, name="Stockfish 16.1")))
    depths = []
    for uci_elo in (1320, 2000, 2500, 3000, 3190):
        with start_stockfish(None, uci_elo, Limit()) as engine:
            depths.append(engine.limit.depth)
    # Stockfish 16 makes them levels 0, 4.4, 8.0, 14.7 and 18.4, and picks its move at the depth above.
    assert [depth - 1 > level for depth, level in zip(depths, (0, 4, 7, 14, 18), strict=True)] == [True] * 5
    assert depths == sorted(depths) and depths[-1] <= 21


@pytest.mark.parametrize(
    ("name", "scale"),
    [("Stockfish 15.1", "is"), ("Stockfish 280822", "may be"), ("Fake 1", "may be")],
)
def test_uci_elo_of_an_older_or_unknown_scale_is_refused(tmp_path, monkeypatch, name, scale):
    monkeypatch.setenv("STOCKFISH", str(fake_engine(tmp_path, name=name)))
    before = descendants()
    with pytest.raises(InputError, match=f"UCI_Elo of {name} {scale} on an older scale.*: use Skill Levels"):
        start_stockfish(None, 1500, Limit())
    assert_end(descendants() - before)


def test_engine_hears_the_moves_of_the_game_and_of_a_new_game(tmp_path):
    program = fake_engine(tmp_path, answering("bestmove a2a3"))
    board = chess.Board()
    with UciEngine([str(program)], NODES) as engine:
        for move in ("g1f3", "g8f6"):
            engine.choose(board) if board.turn else None
            board.push_uci(move)
        engine.choose(board)
        engine.new_game(1)
        engine.choose(board)
    told = program.with_suffix(".log").read_text().splitlines()
    games = " | ".join(line for line in told if line.startswith(("ucinewgame", "position")))
    moves = "position startpos moves g1f3 g8f6"
    assert games == f"ucinewgame | position startpos | {moves} | ucinewgame | {moves}"


def test_ctrl_c_in_a_terminal_does_not_reach_the_engine(child):
    _, process = child
    assert os.getsid(process.pid) != os.getsid(0)


def test_engine_ends_when_it_is_closed(child):
    engine, process = child
    engine.close()
    assert_end({process})
    engine.close()


def test_killed_engine_is_an_engine_crash(child):
    engine, process = child
    engine.choose(chess.Board())
    process.send_signal(signal.SIGKILL)
    with pytest.raises(EngineCrash, match=r"Stockfish .* died"):
        engine.choose(chess.Board())
    engine.close()
    assert_end({process})


def test_stopped_engine_is_an_engine_crash_and_is_ended(child, monkeypatch):
    engine, process = child
    engine.choose(chess.Board())
    monkeypatch.setattr(uci_engines, "PATIENCE_SECONDS", 0.2)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(EngineCrash, match="did not answer within 0 s"):
        engine.choose(chess.Board())
    assert_end({process})


def test_patience_is_longer_for_longer_searches(tmp_path, monkeypatch):
    monkeypatch.setattr(uci_engines, "PATIENCE_SECONDS", 0.0)
    program = fake_engine(tmp_path, f"time.sleep(0.3); {answering('bestmove e2e4')}")
    for limit in (Limit(nodes=30_000), Limit(depth=15)):
        with UciEngine([str(program)], limit) as engine:
            assert engine.play(chess.Board()) == chess.Move.from_uci("e2e4")


def test_patience_grows_with_the_depth_far_more_than_stockfish_needs():
    depths = {depth: longest_search(Limit(depth=depth)) for depth in (1, 10, 20, 26, 200)}
    # Stockfish 15 took at most 0.1, 2, and 10 s on a middlegame.
    assert depths[1] < 0.01 and depths[10] > 1 and depths[20] > 15 * 60 and depths[26] > 12 * 3600
    # A timer can wait as long.
    assert list(depths.values()) == sorted(depths.values()) and depths[200] < threading.TIMEOUT_MAX
    assert longest_search(Limit(nodes=10**30)) < threading.TIMEOUT_MAX


def test_patience_is_that_of_the_limit_that_ends_the_search_first():
    assert longest_search(Limit(depth=30, nodes=5000)) == 5.0
    assert longest_search(Limit(depth=30, nodes=50_000, time=0.1)) == 0.1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("bestmove e2e5", "Fake 1 broke the protocol: .*e2e5"),
        ("bestmove nonsense", "Fake 1 broke the protocol"),
        ("bestmove (none)", "Fake 1 gave no move"),
    ],
)
def test_answers_that_are_no_legal_move_are_engine_crashes(tmp_path, answer, message):
    with (
        UciEngine([str(fake_engine(tmp_path, answering(answer)))], NODES) as engine,
        pytest.raises(EngineCrash, match=message),
    ):
        engine.choose(chess.Board())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nowhere"], "/nowhere: no such program; give the path of a UCI engine"),
        (["true"], "true ended before it answered `uci`: is it a UCI engine"),
        (["ls", "--nonsense"], "ls ended before it answered"),
        (["cat"], "cat did not answer `uci` within 1 s: is it a UCI engine"),
    ],
)
def test_program_that_is_no_uci_engine_is_refused_in_one_line(monkeypatch, capfd, caplog, command, message):
    monkeypatch.setattr(uci_engines, "HANDSHAKE_SECONDS", 1.0 if command == ["cat"] else 20.0)
    before = descendants()
    with pytest.raises(InputError, match=message) as refusal:
        UciEngine(command, NODES)
    assert "\n" not in str(refusal.value)
    assert_end(descendants() - before)
    assert capfd.readouterr() == ("", "") and caplog.text == ""


def test_option_that_an_engine_does_not_have_is_refused(tmp_path):
    before = descendants()
    with pytest.raises(InputError, match=r"cannot be used: .*Contempt.*; give another engine"):
        UciEngine([str(fake_engine(tmp_path))], NODES, {"Contempt": 1})
    assert_end(descendants() - before)
