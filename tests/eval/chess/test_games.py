"""Games end by every rule, are written completely, and handle crashes of engines."""

import io
import math
from collections.abc import Sequence
from contextlib import ExitStack, closing

import chess
import chess.pgn
import pytest
from chess.engine import Limit

from data.chess.stockfish import EngineCrash, centipawns_from_win_prob
from eval.chess import uci_engines
from eval.chess.engines import ChosenMove, Engine, MoveChoice
from eval.chess.games import LeftGame, PlayedGame, Resignation, play_game
from eval.chess.match import Match, ScheduledGame
from eval.chess.openings import Opening
from eval.chess.players import ModelPlayer, RandomPlayer, StockfishPlayer, UciPlayer
from tests.eval.chess.test_uci_engines import answering, assert_end, descendants, fake_engine
from tests.support.fragile_stockfish import crashing_stockfish
from tests.support.programs import needs


pytestmark = needs("stockfish")


START = Opening("standard", chess.STARTING_FEN, ())
SHUFFLE = ("g1f3", "g8f6", "f3g1", "f6g8")


class Script(Engine):
    """Plays moves in order, each with a win probability if any are given; an exception is raised instead."""

    def __init__(self, name: str, moves: Sequence[str | Exception], win_probs: Sequence[float] = ()):
        self.name = name
        self.moves = list(moves)
        self.win_probs = list(win_probs)

    def choose(self, board: chess.Board) -> ChosenMove:
        move = self.moves.pop(0)
        if not isinstance(move, str):
            raise move
        return ChosenMove(chess.Move.from_uci(move), self.win_probs.pop(0) if self.win_probs else None)


def play(opening: Opening, *moves: str | Exception, **headers: str) -> PlayedGame:
    """Play a game of two scripts that make these moves in turn."""
    first, second = Script("first", moves[::2]), Script("second", moves[1::2])
    white, black = (first, second) if opening.board().turn else (second, first)
    return play_game(white, black, opening, headers)


def position(fen: str) -> Opening:
    return Opening("position", fen, ())


def reread(game: PlayedGame) -> chess.pgn.Game:
    """Read the text of a game with python-chess, and check that it holds one game without errors."""
    text = io.StringIO(game.pgn)
    read = chess.pgn.read_game(text)
    assert read.errors == [] and chess.pgn.read_game(text) is None
    return read


@pytest.mark.parametrize(
    ("opening", "moves", "result", "ending"),
    [
        (START, ("f2f3", "e7e5", "g2g4", "d8h4"), "0-1", "checkmate"),
        (position("6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1"), ("a1a8",), "1-0", "checkmate"),
        (position("6k1/5ppp/8/8/8/8/8/R5K1 w - - 99 90"), ("a1a8",), "1-0", "checkmate"),
        (position("k7/8/1K6/8/8/8/2Q5/8 w - - 0 1"), ("c2c7",), "1/2-1/2", "stalemate"),
        (position("8/8/8/4k3/8/3b4/4N3/4K3 b - - 0 1"), ("d3e2",), "1/2-1/2", "insufficient material"),
        (START, SHUFFLE * 2, "1/2-1/2", "threefold repetition"),
        (Opening("moved", chess.STARTING_FEN, SHUFFLE), SHUFFLE, "1/2-1/2", "threefold repetition"),
        (position("7k/8/8/3q4/8/8/1R6/K7 w - - 98 90"), ("b2b1", "d5d6"), "1/2-1/2", "fifty-move rule"),
    ],
)
def test_a_game_ends_as_soon_as_a_rule_ends_it(opening, moves, result, ending):
    game = play(opening, *moves)
    assert (game.result, game.ending, game.crash) == (result, ending, None)
    assert [move.uci() for move in game.final_board.move_stack] == [*opening.moves, *moves]
    headers = reread(game).headers
    assert (headers["Result"], headers["Termination"]) == (result, "normal")


def test_pgn_holds_the_players_the_opening_and_the_headers_given():
    opening = Opening("Barnes Opening", chess.STARTING_FEN, ("f2f3",))
    headers = reread(play(opening, "e7e5", "g2g4", "d8h4", Event="A match", Round="3.2")).headers
    expected = {
        "Event": "A match",
        "Round": "3.2",
        "White": "second",
        "Black": "first",
        "Opening": "Barnes Opening",
        "Result": "0-1",
    }
    assert {key: headers[key] for key in expected} == expected
    assert "FEN" not in headers


@pytest.mark.parametrize("fen", [chess.STARTING_FEN, chess.Board().mirror().fen()])
def test_evals_in_the_pgn_are_the_movers_win_probability_from_whites_side(fen):
    board = chess.Board(fen)
    opening = Opening("opening", fen, ("a2a3",) if board.turn else ("a7a6",))
    flipped = str.maketrans("12345678", "12345678" if board.turn else "87654321")
    moves = [move.translate(flipped) for move in ("e7e5", "e2e4", "b8c6", "g1f3", "g8f6")]
    first = Script("first", moves[::2], [0.3, 0.0, 0.5])
    second = Script("second", [*moves[1::2], Resignation()], [0.9, 1.0])
    white, black = (second, first) if board.turn else (first, second)
    nodes = list(reread(play_game(white, black, opening)).mainline())
    assert [node.move.uci() for node in nodes] == [*opening.moves, *moves]
    assert nodes[0].comment == "" and nodes[0].eval() is None
    for node, win_prob in zip(nodes[1:], (0.3, 0.9, 0.0, 1.0, 0.5), strict=True):
        mover = not node.turn()
        centipawns = node.eval().pov(mover).score()
        assert centipawns == centipawns_from_win_prob(win_prob)
        # In the file it is from White's side.
        assert node.eval().white().score() == (centipawns if mover else -centipawns)
        assert node.comment.startswith(f"{win_prob:.1%}")
    assert nodes[-1].comment.endswith("second resigned")


def test_movetext_is_wrapped_and_event_and_site_are_filled():
    moves = SHUFFLE * 2
    white, black = (Script(name, moves[start::2], [0.5] * 4) for start, name in enumerate(("white", "black")))
    game = play_game(white, black, START)
    assert max(map(len, game.pgn.splitlines())) <= 80 and game.pgn.endswith("1/2-1/2\n\n")
    headers = reread(game).headers
    assert (headers["Event"], headers["Site"]) == ("Match", "Stop Regressing")


def test_a_game_that_a_side_leaves_has_no_result():
    game = play(START, "e2e4", "e7e5", LeftGame())
    assert (game.result, game.ending, game.crash) == ("*", "first left the game", None)
    read = reread(game)
    assert (read.headers["Result"], read.headers["Termination"]) == ("*", "unterminated")
    assert len(list(read.mainline_moves())) == 2


def test_moves_without_a_win_probability_have_no_eval():
    assert "%" not in play(START, *SHUFFLE * 2).pgn


@pytest.mark.parametrize("moves", [("e2e4", "e7e5"), ("e2e4",), ()])
def test_a_crash_a_resignation_and_an_illegal_move_lose(moves):
    result = "0-1" if len(moves) % 2 == 0 else "1-0"
    loser = "second" if len(moves) % 2 else "first"
    crashed = play(START, *moves, EngineCrash("the engine died"))
    assert (crashed.result, crashed.crash) == (result, "the engine died")
    assert reread(crashed).headers["Termination"] == "abandoned"
    for illegal in ("e2e5", "0000", "a7a8q"):
        cheated = play(START, *moves, illegal)
        assert cheated.result == result
        assert cheated.crash.startswith(f"{loser} played {illegal}, which is not legal in ")
        assert [move.uci() for move in reread(cheated).mainline_moves()] == list(moves)
    resigned = play(START, *moves, Resignation())
    assert (resigned.result, resigned.ending, resigned.crash) == (result, f"{loser} resigned", None)
    assert reread(resigned).headers["Termination"] == "normal"


@pytest.fixture
def hot_model(model_folder):
    return ModelPlayer(str(model_folder), "cpu", choice=MoveChoice(math.inf))


@pytest.fixture
def match():
    """Return a function that makes matches, which are closed at the end."""
    with ExitStack() as stack:
        yield lambda *players: stack.enter_context(closing(Match(players[0], players[1:])))


def play_in(match: Match, opponent: int, opening: Opening, player_is_white: bool, seed: int) -> PlayedGame:
    return match.play(opponent, ScheduledGame(opening, player_is_white, seed, {}))


def test_the_seed_decides_a_game_independent_of_earlier_ones(match, hot_model):
    opening = position("8/8/3k4/8/8/3KR3/8/8 w - - 88 90")
    fresh, used = match(hot_model, RandomPlayer()), match(hot_model, RandomPlayer())
    play_in(used, 0, opening, True, seed=1)
    game = play_in(fresh, 0, opening, False, seed=7)
    assert play_in(used, 0, opening, False, seed=7) == game
    assert play_in(used, 0, opening, False, seed=8).pgn != game.pgn


def test_a_match_gives_the_players_the_colours_of_the_schedule(match):
    opening = position("7k/8/8/3q4/8/8/1R6/K7 w - - 99 90")
    game = play_in(match(RandomPlayer(), StockfishPlayer(skill=0)), 0, opening, False, seed=0)
    assert '[White "Stockfish' in game.pgn and '[Black "random"]' in game.pgn
    game = play_in(match(RandomPlayer(), RandomPlayer(), StockfishPlayer(skill=0)), 1, opening, True, seed=0)
    assert '[White "random"]' in game.pgn and '[Black "Stockfish' in game.pgn


def test_engines_start_when_they_are_needed_and_stay(match):
    before = descendants()
    opening = position("7k/8/8/3q4/8/8/1R6/K7 w - - 99 90")
    seated = match(RandomPlayer(), StockfishPlayer(skill=0), StockfishPlayer(skill=1))
    assert descendants() - before == set()
    play_in(seated, 1, opening, True, seed=0)
    started = descendants() - before
    assert len(started) == 1
    play_in(seated, 1, opening, False, seed=1)
    assert descendants() - before == started
    seated.close()
    assert_end(started)


def test_an_engine_that_crashed_is_started_again_for_the_next_game(tmp_path, monkeypatch, match):
    monkeypatch.setenv("STOCKFISH", str(crashing_stockfish(tmp_path, "go depth", times=1)))
    opening = position("7k/8/8/3q4/8/8/1R6/K7 w - - 99 90")
    seated = match(RandomPlayer(), StockfishPlayer(skill=0))
    first, second = (play_in(seated, 0, opening, False, seed=seed) for seed in range(2))
    assert first.result == "0-1" and first.crash.endswith("died")
    assert second.crash is None and len(second.final_board.move_stack) == 1


@pytest.mark.parametrize("player_is_white", [True, False])
@pytest.mark.parametrize("ours_crashes", [True, False])
def test_after_a_crash_only_the_engine_that_crashed_is_started_again(
    tmp_path, match, player_is_white, ours_crashes
):
    crashing = UciPlayer(str(fake_engine(tmp_path, "sys.exit()", file="crashing")), Limit(depth=1))
    sound = StockfishPlayer(skill=0)
    seated = match(*((crashing, sound) if ours_crashes else (sound, crashing)))
    before = descendants()
    assert play_in(seated, 0, START, player_is_white, seed=0).crash.endswith("died")
    (survivor,) = (process for process in descendants() - before if process.is_running())
    assert "stockfish" in survivor.name()
    assert play_in(seated, 0, START, player_is_white, seed=1).crash.endswith("died")
    assert survivor in descendants()


def test_a_program_that_plays_illegal_moves_or_hangs_loses(tmp_path, monkeypatch, match):
    limit = Limit(depth=1)
    cheat = UciPlayer(str(fake_engine(tmp_path, answering("bestmove e2e5"), file="cheat")), limit)
    hanging = UciPlayer(str(fake_engine(tmp_path, "pass", file="hanging")), limit)
    monkeypatch.setattr(uci_engines, "PATIENCE_SECONDS", 0.3)
    before = descendants()
    seated = match(RandomPlayer(), cheat, hanging)
    for opponent, reason in ((0, "broke the protocol"), (1, "did not answer")):
        white = play_in(seated, opponent, START, False, seed=0)
        black = play_in(seated, opponent, START, True, seed=0)
        assert (white.result, black.result) == ("0-1", "1-0")
        assert reason in white.crash and reason in black.crash
    assert_end(descendants() - before)
