"""The UCI engine as GUIs, match runners and bots talk to it: a `bestmove` for every `go`, whatever comes."""

import argparse
import itertools
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import chess
import chess.engine
import pytest
import torch

from data.chess.stockfish import win_prob_from_centipawns
from eval.chess.engines import ValueEngine
from eval.chess.uci import UciSession
from eval.chess.uci_protocol import ProtocolError, describe_score, read_move, read_position, win_draw_loss
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.support.commands import REPOSITORY, assert_input_error, run_command


MATES_IN_ONE = {
    "6k1/5ppp/8/8/8/8/8/R3K3 w Q - 0 1": "a1a8",
    "rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq - 0 2": "d8h4",
    "r1bqkb1r/pppp1ppp/2n2n2/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR w KQkq - 4 4": "h5f7",
    "6nr/5Ppk/5ppp/8/8/8/8/K7 w - - 0 1": "f7f8n",
}
SHUFFLE = ("g1f3", "g8f6", "f3g1", "f6g8")
MOVE = r"[a-h][1-8][a-h][1-8][qrbn]?"
INFO = rf"info depth 1 seldepth 1 multipv \d+ score cp -?\d+ nodes \d+ nps \d+ time \d+ pv {MOVE}"
BEST = rf"bestmove {MOVE}"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Sessions in this process take one thread, and the tests of other files have theirs back."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def start(*arguments: object) -> subprocess.Popen:
    """Start the command with its input open."""
    return subprocess.Popen(
        ["python", "-m", "eval.chess.uci", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # Background processes of a shell, such as tests, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class EngineProcess:
    """The command, spoken to line by line; a watchdog ends it should it ever hang."""

    def __init__(self, *arguments: object):
        self.process = start(*arguments)
        watchdog = threading.Timer(120, self.process.kill)
        watchdog.daemon = True
        watchdog.start()

    def ask(self, *commands: str | bytes) -> list[str]:
        """Send commands, and return all that the engine says to them."""
        for command in (*commands, "what-comes-before-is-the-answer"):
            line = command if isinstance(command, bytes) else command.encode()
            self.process.stdin.buffer.write(line + b"\n")
        self.process.stdin.flush()
        answers = []
        while "what-comes-before-is-the-answer" not in (line := self.process.stdout.readline()):
            assert line, f"the engine died: {self.process.stderr.read()}"
            answers.append(line.rstrip("\n"))
        return answers


@pytest.fixture(scope="module")
def engine_process(model_folder):
    engine = EngineProcess("--model", model_folder, "--device", "cpu")
    yield engine
    stdout, stderr = engine.process.communicate("quit\n", timeout=60)
    assert (engine.process.returncode, stdout, stderr) == (0, "", "")


@pytest.fixture
def ask(engine_process) -> Callable[..., list[str]]:
    """One process for all tests, set back to where it began."""
    options = ("MultiPV value 1", "Temperature value 0", "Margin value inf", "UCI_ShowWDL value false")
    defaults = [f"setoption name {option}" for option in (*options, "ExactEnds value all")]
    engine_process.ask("stop", *defaults, "ucinewgame", "position startpos")
    return engine_process.ask


@pytest.fixture(scope="module")
def gui(model_folder):
    command = ["python", "-m", "eval.chess.uci", "--model", str(model_folder), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with chess.engine.SimpleEngine.popen_uci(command, cwd=REPOSITORY, env=environment) as engine:
        yield engine


def make_session(model_folder, said: list[str], **settings: object) -> UciSession:
    """Make a session without a process of its own; what the engine says is added to `said`."""
    defaults = {
        "temperature": 0.0,
        "margin": math.inf,
        "exact_ends": "all",
        "compile": False,
        "runtime": "torch",
        "seed": 0,
    }
    loading = {"model": str(model_folder), "device": "cpu", "dtype": "float32"}
    arguments = argparse.Namespace(**loading | defaults | settings)
    return UciSession(arguments, lambda *lines: said.extend(lines))


def talk(model_folder, *lines: str, **settings: object) -> list[str]:
    """Hold a conversation and return what the engine says."""
    said: list[str] = []
    make_session(model_folder, said, **settings).run(line.encode() for line in lines)
    return said


def test_uciok_comes_before_anything_slow_is_imported(model_folder):
    commands = "uci\nsetoption name Hash value 32\ndebug on\nposition startpos moves e2e4\nd\nquit\n"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "eval.chess.uci", "--model", model_folder],
        input=commands,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0
    assert "uciok" in done.stdout.splitlines()
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "chess" in imported
    assert not imported & {"torch", "transformers", "numpy", "safetensors", "pyarrow"}


def test_options_are_declared_as_python_chess_reads_them(gui):
    declared = {
        name: (option.type, option.default, option.min, option.max) for name, option in gui.options.items()
    }
    assert declared == {
        "MultiPV": ("spin", 1, 1, 256),
        "Temperature": ("string", "0", None, None),
        "Margin": ("string", "inf", None, None),
        "Threads": ("spin", 1, 1, 1024),
        "UCI_ShowWDL": ("check", False, None, None),
        "ExactEnds": ("combo", "all", None, None),
        "UCI_Chess960": ("check", False, None, None),
        "Hash": ("spin", 16, 1, 33_554_432),
        "Clear Hash": ("button", None, None, None),
        "Ponder": ("check", False, None, None),
        "Move Overhead": ("spin", 0, 0, 60_000),
        "SyzygyPath": ("string", "<empty>", None, None),
    }
    assert gui.options["ExactEnds"].var == ["none", "draws", "all"]
    assert gui.id["name"].startswith("Stop Regressing run")


@pytest.mark.slow
def test_a_whole_game_is_played_against_itself_within_the_rules(gui):
    board = chess.Board()
    game = object()
    limit = chess.engine.Limit(white_clock=60, black_clock=60, white_inc=0.6, black_inc=0.6)
    while board.outcome(claim_draw=True) is None and board.ply() < 120:
        # python-chess raises an error for an illegal move.
        board.push(gui.play(board, limit, game=game).move)
    assert board.ply() > 10


@pytest.mark.slow
def test_what_lichess_bot_sends_is_understood(gui):
    gui.configure(
        {
            "Move Overhead": 100,
            "Threads": 1,
            "Hash": 512,
            "SyzygyPath": "./syzygy/",
            "UCI_ShowWDL": True,
            "Clear Hash": None,
        }
    )
    board = chess.Board()
    board.push_uci("e2e4")
    only = [chess.Move.from_uci("a7a6"), chess.Move.from_uci("h7h6")]
    for limit in (
        chess.engine.Limit(white_clock=180.0, black_clock=180.0, white_inc=2.0, black_inc=2.0),
        chess.engine.Limit(time=0.5, depth=5, nodes=1000),
        chess.engine.Limit(time=10.0, clock_id="correspondence"),
    ):
        result = gui.play(board, limit, info=chess.engine.INFO_ALL, ponder=True, draw_offered=False)
        assert result.move in board.legal_moves
        assert result.info["wdl"].relative.total() == 1000 and result.info["nodes"] == 20
        assert gui.play(board, limit, root_moves=only, ponder=True).move in only
    gui.ping()


@pytest.mark.slow
def test_analysis_gives_as_many_lines_as_asked_for_best_first(gui):
    board = chess.Board("r1bqkbnr/pppp1ppp/2n5/4p3/2B1P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3")
    lines = gui.analyse(board, chess.engine.Limit(depth=10), multipv=100)
    assert [line["multipv"] for line in lines] == list(range(1, board.legal_moves.count() + 1))
    assert {line["pv"][0] for line in lines} == set(board.legal_moves)
    scores = [line["score"].relative.score() for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert gui.play(board, chess.engine.Limit(time=1)).move == lines[0]["pv"][0]


def test_scores_are_the_values_of_the_model(gui, model_folder):
    board = chess.Board()
    analysis = ValueEngine(model_folder, device="cpu").analyse(board)
    expected = dict(zip(analysis.moves, analysis.values, strict=True))
    for line in gui.analyse(board, chess.engine.Limit(depth=1), multipv=20):
        score = win_prob_from_centipawns(line["score"].relative.score())
        assert score == pytest.approx(expected[line["pv"][0]], abs=0.001)


def test_endless_analysis_ends_when_it_is_stopped(gui):
    with gui.analysis(chess.Board(), multipv=3) as analysis:
        for info in analysis:
            if info.get("multipv") == 3:
                break
        analysis.stop()
        assert analysis.wait().move == analysis.multipv[0]["pv"][0]


@pytest.mark.parametrize("fen", MATES_IN_ONE)
def test_an_untrained_model_plays_mate_in_one(gui, fen):
    board = chess.Board(fen)
    result = gui.play(board, chess.engine.Limit(time=1), info=chess.engine.INFO_SCORE)
    assert result.move.uci() == MATES_IN_ONE[fen]
    assert result.info["score"].relative == chess.engine.Mate(1)


@pytest.mark.parametrize("fen", list(MATES_IN_ONE)[:2])
def test_mate_is_played_at_any_temperature_unless_it_is_forbidden(ask, fen):
    ask("setoption name Temperature value inf", f"position fen {fen}")
    mate = f"bestmove {MATES_IN_ONE[fen]}"
    assert {ask("go")[-1] for _ in range(10)} == {mate}
    others = [move.uci() for move in chess.Board(fen).legal_moves if move.uci() != MATES_IN_ONE[fen]]
    assert mate not in {ask(f"go searchmoves {' '.join(others)}")[-1] for _ in range(10)}


def test_checkmate_ranks_above_any_prediction(tmp_path):
    model = tiny_model(value_loss="mse")
    torch.nn.init.constant_(model.head.bias, 3.0)
    model.save_pretrained(tmp_path)
    ChessTokenizer().save_pretrained(tmp_path)
    for fen, mate in MATES_IN_ONE.items():
        *_, first, _, best = talk(tmp_path, "setoption name MultiPV value 2", f"position fen {fen}", "go")
        assert f"score mate 1 nodes {chess.Board(fen).legal_moves.count()}" in first
        assert best == f"bestmove {mate}"


# One session: what is sent, and the whole answer, line by line.
EXCHANGES = (
    # fastchess
    ("ucinewgame", ()),
    ("setoption name Hash value 16", ()),
    ("setoption name Threads value 1", ()),
    ("setoption name Move Overhead value 50", ()),
    ("position startpos", ()),
    ("go wtime 8000 btime 8000 winc 80 binc 80", (INFO, BEST)),
    ("position startpos moves e2e4 e7e5", ()),
    ("go wtime 7990 btime 8000 winc 80 binc 80 movestogo 38", (INFO, BEST)),
    ("go movetime 100", (INFO, BEST)),
    ("go nodes 1000", (INFO, BEST)),
    ("go depth 8", (INFO, BEST)),
    ("go nodes 500 depth 3 movetime 20", (INFO, BEST)),
    ("stop", ()),
    # Every other form of go
    ("go", (INFO, BEST)),
    ("go mate 3", (INFO, BEST)),
    ("go perft banana -7 depth", (INFO, BEST)),
    ("go wtime -250 btime 1", (INFO, BEST)),
    ("go searchmoves a2a3 h2h3", (INFO, "bestmove (a2a3|h2h3)")),
    ("go searchmoves h2h3 wtime 100 btime 100 depth 2", (INFO, "bestmove h2h3")),
    ("go nodes 5 searchmoves e2e5 banana a2a3 movetime 7", (INFO, "bestmove a2a3")),
    ("go searchmoves", (INFO, BEST)),
    ("go searchmoves 0000", ("info string .*searchmoves.*", r"bestmove \(none\)")),
    # Endless searches keep their move
    ("go infinite", (INFO,)),
    ("isready", ("readyok",)),
    ("ponderhit", ()),
    ("uci", ("id name .*", "id author .*", *["option name .*"] * 12, "uciok")),
    ("stop", (BEST,)),
    ("stop", ()),
    ("go ponder wtime 100 btime 100", (INFO,)),
    ("isready", ("readyok",)),
    ("ponderhit", (BEST,)),
    ("ponderhit", ()),
    ("go ponder movetime 10", (INFO,)),
    ("stop", (BEST,)),
    ("go ponder infinite", (INFO,)),
    ("ponderhit", ()),
    ("stop", (BEST,)),
    ("go infinite searchmoves b1c3", (INFO,)),
    ("go movetime 1", ("bestmove b1c3", INFO, BEST)),
    # Options
    ("setoption name multipv value 3", ()),
    ("go", (INFO, INFO, INFO, BEST)),
    ("setoption name MULTIPV value 0", ("info string MultiPV cannot be '0': .*1 to 256",)),
    ("setoption name MultiPV value 257", ("info string MultiPV cannot be .*",)),
    ("setoption name MultiPV value many", ("info string MultiPV cannot be .*",)),
    ("setoption name MultiPV", ("info string MultiPV cannot be .*",)),
    ("go searchmoves a2a3 b2b3", (INFO, INFO, BEST)),
    ("setoption name MultiPV value 1", ()),
    ("setoption name uci_showwdl value TRUE", ()),
    ("go", (r"info .* score cp -?\d+ wdl \d+ \d+ \d+ nodes .*", BEST)),
    ("setoption name UCI_ShowWDL value yes", ("info string UCI_ShowWDL cannot be 'yes': .*",)),
    ("setoption name UCI_ShowWDL value false", ()),
    ("setoption name Temperature value -1", ("info string Temperature cannot be '-1': .*",)),
    ("setoption name Temperature value nan", ("info string Temperature cannot be .*",)),
    ("setoption name Temperature value inf", ()),
    ("setoption name Margin value .", ("info string Margin cannot be .*",)),
    ("setoption name Margin value 0", ()),
    ("go", (INFO, BEST)),
    ("setoption name Temperature value 0", ()),
    ("setoption name Margin value inf", ()),
    ("setoption name ExactEnds value Draws", ()),
    ("setoption name ExactEnds value some", ("info string ExactEnds cannot be 'some': .*",)),
    ("setoption name ExactEnds value all", ()),
    ("setoption name SyzygyPath value /a path/with spaces", ()),
    ("setoption name SyzygyPath value <empty>", ()),
    ("setoption name Ponder value true", ()),
    ("setoption name Clear Hash", ()),
    ("setoption name UCI_Variant value atomic", ("info string No such option: 'UCI_Variant'",)),
    ("setoption", ("info string No such option: ''",)),
    ("setoption name value value 3", ("info string No such option: ''",)),
    # Positions
    ("position fen 4k3/8/8/8/8/8/4P3/4K3 w - -", ()),
    ("go searchmoves e2e4", (INFO, "bestmove e2e4")),
    ("position fen r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1 moves e1g1 e8c8", ()),
    ("d", (*["([.rk] ){7}[.rk]", *["([.] ?){8}"] * 6, "([.RK] ){7}[.RK]"], r"Fen: 2kr3r/.*/R4RK1 w - - 2 2")),
    ("position fen 8/8/8/8/8/8/8/8 w - - 0 1", ("info string impossible position .*",)),
    ("position fen banana", ("info string broken FEN 'banana': .*",)),
    ("position fen", ("info string broken FEN .*",)),
    ("position", ("info string position needs .*",)),
    ("position banana startpos", ("info string position needs .*",)),
    ("position startpos moves e2e4 e7e5 e4e5 g1f3", ("info string illegal move 'e4e5' in .*",)),
    ("go searchmoves f1a6", (INFO, "bestmove f1a6")),
    ("position startpos moves 0000", ("info string illegal move '0000' .*",)),
    ("position fen 7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", ()),
    ("go movetime 10", ("info depth 0 score cp 0", r"bestmove \(none\)")),
    ("position fen R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30", ()),
    ("go infinite", ("info depth 0 score mate 0",)),
    ("stop", (r"bestmove \(none\)",)),
    # Anything else
    ("debug on", ()),
    ("debug off", ()),
    ("register later", ()),
    ("help", (".*UCI.*", ".*position startpos.*")),
    ("", ()),
    ("   \t ", ()),
    ("\r", ()),
    ("joho position startpos\r", ()),
    ("\tgo\t movetime  5 \r", (INFO, BEST)),
    ("banana", ("info string unknown command 'banana'; try help",)),
    (b"\xff\xfe\x00\x01\x80", ("info string unknown command .*",)),
    ("x" * 1_000_000, ("info string unknown command 'x{57}[.]{3}'; try help",)),
)


def test_every_exchange_of_a_long_session_has_the_expected_answer(ask):
    assert len(EXCHANGES) > 50
    for command, expected in EXCHANGES:
        answer = ask(command)
        fits = len(answer) == len(expected) and all(map(re.fullmatch, expected, answer))
        assert fits, f"{command!r} is answered by {answer}"


def test_the_kept_move_is_sent_at_the_end_of_input(model_folder):
    for last in ([], ["quit"]):
        assert re.fullmatch(BEST, talk(model_folder, "go infinite", *last)[-1])


def test_moves_that_draw_by_rule_score_zero(ask):
    ask("setoption name MultiPV value 256", "setoption name UCI_ShowWDL value true")
    twice = " ".join([*SHUFFLE, *SHUFFLE[:3]])
    lines = ask(f"position startpos moves {twice}", "go")
    assert any("score cp 0 wdl 0 1000 0" in line and line.endswith("pv f6g8") for line in lines)
    assert sum("wdl 0 1000 0" in line for line in lines) == 1
    lines = ask("position fen 4k3/8/8/8/8/4p3/4K3/8 w - - 99 80", "go")
    draws = [line for line in lines if "score cp 0 wdl 0 1000 0" in line]
    assert len(draws) == len(lines) - 1  # taking the pawn leaves two kings, anything else fifty moves
    ask("setoption name ExactEnds value none")
    assert not any("wdl 0 1000 0" in line for line in ask(f"position startpos moves {twice}", "go"))


def test_lines_stay_best_first_when_another_move_is_sampled(ask):
    ask("setoption name MultiPV value 20")
    greedy = ask("go")
    ask("setoption name Temperature value inf")
    drawn = [ask("go") for _ in range(10)]
    assert all(
        re.sub(r"nps.* pv", "", a) == re.sub(r"nps.* pv", "", b)
        for lines in drawn
        for a, b in zip(lines[:-1], greedy[:-1], strict=True)
    )
    assert len({lines[-1] for lines in drawn}) > 1
    # Nothing is as good as the best but itself.
    ask("setoption name Margin value 0")
    assert {ask("go")[-1] for _ in range(5)} == {greedy[-1]}


def test_the_same_seed_draws_the_same_moves(model_folder):
    def draw(seed: int | None) -> list[str]:
        said = talk(model_folder, *["go"] * 20, temperature=math.inf, seed=seed)
        return [line for line in said if line.startswith("bestmove")]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(None) != draw(None)


def test_threads_reach_torch(model_folder):
    talk(model_folder, "isready", "setoption name Threads value 3")
    assert torch.get_num_threads() == 3
    talk(model_folder, "setoption name Threads value 2", "isready")
    assert torch.get_num_threads() == 2


def test_a_game_of_three_thousand_moves_continues(ask):
    moves = " ".join(itertools.islice(itertools.cycle(SHUFFLE), 3000))
    assert re.fullmatch(BEST, ask(f"position startpos moves {moves}", "go")[-1])
    assert ask(f"position startpos moves {moves} e2e4", "d")[-1].endswith(" b KQkq - 0 1501")


def test_illegal_moves_and_broken_positions_are_refused_in_one_line():
    board, moves, _ = read_position(["startpos", "moves", "e2e4", "e7e5"])
    assert (board, moves) == (chess.Board(), ["e2e4", "e7e5"])
    for illegal in ("e2e5", "e7e9", "0000", "banana", "e8g8", "P@e4", "", "é"):
        with pytest.raises(ProtocolError, match="illegal move"):
            read_move(board, illegal)
    kings = "4k3/8/8/8/8/8/8/4K3"
    broken = ["", "x", f"{kings} x", f"{kings} w - - -1 0", f"{kings} w - e9", "K" * 10_000]
    one_king, pawn_on_rank_one = "8/8/8/8/8/8/8/4K3 w - - 0 1", "4k3/8/8/8/8/8/8/4K2P w - - 0 1"
    king_to_take = "4k3/4Q3/8/8/8/8/8/4K3 w - - 0 1"
    for fen in [*broken, one_king, pawn_on_rank_one, king_to_take]:
        with pytest.raises(ProtocolError, match=r"broken FEN|impossible position") as caught:
            read_position(["fen", *fen.split(), "moves", "e1e2"])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_positions_that_cannot_arise_but_can_be_played_are_played(ask):
    for fen in (
        "QQQQQQQQ/QQQQQQQQ/8/8/8/7k/8/K7 w - - 0 1",  # sixteen queens
        "4k3/8/8/8/8/8/8/4K3 w KQkq e6 0 1",  # no rooks to castle with, no pawn to take
        "4k3/8/8/8/8/8/4P3/4K3 w - - 2000 5000",
        "rkr5/8/8/8/8/8/8/RKR5 w CAca - 0 1",
    ):
        assert re.fullmatch(BEST, ask(f"position fen {fen}", "go")[-1]), fen


WORDS = """
    uci isready setoption name value MultiPV Temperature Hash UCI_ShowWDL ucinewgame position startpos fen
    moves go infinite ponder searchmoves wtime btime movetime depth nodes mate stop ponderhit d help debug
    on off register e2e4 e7e5 g1f3 e1g1 a7a8q 0000 0 1 -1 3 1e9 nan true w b KQkq - / \0 é ² ٣
    rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR 8/8/8/8/8/8/8/8 4k3/8/8/8/8/8/8/4K2R
"""


def random_lines(seed: int, count: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        if rng.random() < 0.2:
            yield rng.randbytes(rng.randrange(200)).replace(b"\n", b"").replace(b"quit", b"")
        else:
            yield " ".join(rng.choices(WORDS.split(), k=rng.randrange(1, 12))).encode()


def test_no_garbage_kills_it(ask, engine_process):
    for line in random_lines(seed=0, count=1000):
        ask(line)
    ask("stop", "setoption name Temperature value 0")
    assert re.fullmatch(BEST, ask("position startpos", "go")[-1])
    assert engine_process.process.poll() is None


def test_a_bug_costs_one_move_and_shows(model_folder, monkeypatch, capsys):
    said = []

    def lines():
        yield from (b"isready", b"setoption name Threads value 1")
        with monkeypatch.context() as fault:
            fault.setattr(ValueEngine, "analyse", lambda *_: 1 / 0)
            yield b"go infinite"
        yield b"go"

    make_session(model_folder, said).run(lines())
    assert said[1:3] == [
        "bestmove (none)",
        "info string error: go failed: ZeroDivisionError: division by zero",
    ]
    assert re.fullmatch(BEST, said[-1])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("win_prob", [0.0, 1e-9, 0.022, 0.25, 0.5, 0.9, 1 - 2**-24, 1.0])
def test_wins_draws_and_losses_add_up_to_the_expected_result(win_prob):
    wins, draws, losses = win_draw_loss(win_prob)
    assert wins + draws + losses == 1000 and min(wins, draws, losses) >= 0
    assert (wins + draws / 2) / 1000 == pytest.approx(win_prob, abs=0.0006)
    assert 0 <= abs(int(describe_score(win_prob, None, False).removeprefix("score cp "))) <= 10_000


def test_missing_models_are_errors_at_once(tmp_path, model_folder):
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "empty", "no config.json"),
        (model_folder.parent, f"did you mean {model_folder}?"),
    ):
        result = run_command("eval.chess.uci", "--model", folder)
        assert_input_error(result, str(folder), reason)
        assert result.stdout == ""


@pytest.mark.slow
def test_damaged_weights_end_it_with_the_reason(tmp_path):
    model = tiny_model()
    torch.nn.init.constant_(model.head.bias, torch.nan)
    model.save_pretrained(tmp_path)
    ChessTokenizer().save_pretrained(tmp_path)
    process = start("--model", tmp_path)
    stdout, stderr = process.communicate("isready\ngo\n", timeout=120)
    assert_input_error(subprocess.CompletedProcess([], process.returncode, stdout, stderr), "not finite")
    assert stdout.startswith("info string error: the model predicts") and stdout.count("\n") == 1


def test_it_ends_quietly_with_the_gui(model_folder):
    process = start("--model", model_folder)
    process.stdout.close()
    process.stdin.write("uci\nuci\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


def test_ctrl_c_ends_it_quietly(model_folder):
    process = start("--model", model_folder)
    process.stdin.write("uci\n")
    process.stdin.flush()
    while process.stdout.readline() != "uciok\n":
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == ""
