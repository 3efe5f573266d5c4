"""The analysis page: it shows the engine's numbers, loads nothing, and runs no code from the data."""

import html
import json
import re
import shutil
import sys

import chess
import chess.pgn
import numpy as np
import pytest

from cli.errors import command
from data.chess.game_files import Game, read_game
from eval.chess import analyse
from eval.chess.analyse import (
    boards_of_game,
    display_histograms,
    encode_histogram,
    game_data,
    position_data,
)
from eval.chess.engines import Analysis, ValueEngine, ordered_legal_moves
from eval.chess.rules import values_by_rule
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.support.browser import dom_of, open_page
from tests.support.commands import run_command
from tests.support.programs import needs


SHARP = "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1"
ATTACK = "</script><script>throw 'injected'</script><img src=https://evil.example/x>"
# The second game is the one to show; its names are hostile.
GAMES = f"""[White "Somebody"]

1. d4 d5 *

[Event "{ATTACK}"]
[Date "1999.??.??"]
[White "{{{{data}}}} & Söhne"]
[Black "{ATTACK}"]
[BlackElo "1234"]
[Result "1-0"]

1. e4 e5 2. Qh5 Ke7 3. Qxe5# 1-0

[White "Nobody"]

*

[White "Passing"]

1. e4 -- 2. d4 *
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a model, one trained with mse, and games.pgn."""
    folder = tmp_path_factory.mktemp("analyse")
    for name, value_loss in (("model", "hl_gauss"), ("mse", "mse")):
        tiny_model(value_loss=value_loss).save_pretrained(folder / name)
        ChessTokenizer().save_pretrained(folder / name)
    (folder / "games.pgn").write_text(GAMES)
    return folder


@pytest.fixture(scope="module")
def position_page(folder):
    return make_page(folder, "position.html", "--fen", SHARP)


@pytest.fixture(scope="module")
def game_page(folder):
    return make_page(folder, "game.html", "--pgn", folder / "games.pgn", "--game", 2, "--batch-size", 4)


def make_page(folder, name, *arguments):
    output = folder / name
    result = run_command(
        "eval.chess.analyse", "--model", folder / "model", "--device", "cpu", "--output", output, *arguments
    )
    assert result.returncode == 0, result.stderr
    assert name in result.stdout
    return output


def run_here(monkeypatch, *arguments):
    """Run the command in this process, which is quicker."""
    monkeypatch.setattr(sys, "argv", ["analyse", *map(str, arguments), "--device", "cpu"])
    command(analyse.main)


def data_of(page):
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    return json.loads(text)


def test_position_page_has_the_engines_numbers(position_page, folder):
    engine = ValueEngine(folder / "model", device="cpu", exact_ends="all")
    expected = engine.analyse(chess.Board(SHARP), distributions=True)
    values = dict(zip(map(str, expected.moves), expected.values, strict=True))
    data = data_of(position_page)
    [position] = data["positions"]
    assert position["fen"] == SHARP and position["white"] == pytest.approx(expected.values.max(), abs=1e-5)
    shown = {uci: value for uci, _, value, _, _ in position["moves"]}
    assert shown == pytest.approx(values, abs=1e-5)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    support = engine.network.support
    for uci, san, _, peak, heights in position["moves"]:
        assert chess.Board(SHARP).parse_san(san).uci() == uci
        probs = expected.distributions[list(map(str, expected.moves)).index(uci)]
        histogram = display_histograms(probs[None], support)[0]
        decoded = [peak * analyse.HEIGHTS.index(height) / 63 for height in heights]
        np.testing.assert_allclose(decoded, histogram, atol=peak / 63)
    assert data["model"]["parameters"] == engine.network.num_parameters
    assert data["model"]["value_loss"] == "hl_gauss" and data["model"]["bins"] == 16
    assert data["model"]["name"] == folder.name


def test_game_page_has_every_position_and_the_loss_of_every_move(game_page, folder):
    engine = ValueEngine(folder / "model", device="cpu", exact_ends="all")
    data = data_of(game_page)
    labels = [position.get("label") for position in data["positions"]]
    assert labels == ["1.e4", "1…e5", "2.Qh5", "2…Ke7", "3.Qxe5#", None]
    board = chess.Board()
    for position in data["positions"][:-1]:
        played = board.parse_san(re.split("[.…]", position["label"])[1])
        analysis = engine.analyse(board)
        best, value = analysis.values.max(), analysis.values[analysis.moves.index(played)]
        assert position["fen"] == board.fen()
        assert position["moves"][position["played"]][0] == played.uci()
        assert position["loss"] == pytest.approx(best - value, abs=2e-5)
        assert position["white"] == pytest.approx(best if board.turn else 1 - best, abs=1e-5)
        board.push(played)
    mated = data["positions"][-1]
    assert mated["over"] == "checkmate" and mated["white"] == 1 and mated["moves"] == []
    assert mated["check"] == "e7" and mated["last"] == "h5e5"
    assert data["game"]["players"][1]["rating"] == "1234"
    assert data["game"]["location"] == [ATTACK, "1999"] and data["game"]["result"] == "1–0"


@pytest.mark.parametrize(("turn", "label", "white"), [("w", "31.Kd2", 0.8), ("b", "31…Kd2", 0.2)])
def test_loss_is_the_movers_and_the_curve_is_whites(turn, label, white):
    own, other = ("K", "k") if turn == "w" else ("k", "K")
    board = chess.Board(f"8/8/8/8/7{other}/8/8/3{own}4 {turn} - - 0 31")
    moves = ordered_legal_moves(board)
    assert len(moves) == 5
    values = np.full(5, 0.4, np.float32)
    values[moves.index(chess.Move.from_uci("d1e2"))] = 0.8
    values[moves.index(chess.Move.from_uci("d1c2"))] = 0.6
    values[moves.index(chess.Move.from_uci("d1d2"))] = 0.55
    data = position_data(board, Analysis(moves, values), played=chess.Move.from_uci("d1d2"))
    assert data["label"] == label and data["played"] == 2
    assert data["loss"] == pytest.approx(0.25) and data["white"] == pytest.approx(white)
    assert data["moves"][0] == ["d1e2", "Ke2", pytest.approx(0.8)]
    # A policy may prefer another move to a mate, which is first by rule.
    first = Analysis(moves, values, by_rule={moves.index(chess.Move.from_uci("d1c2")): 1.0})
    data = position_data(board, first, played=chess.Move.from_uci("d1e2"))
    assert data["moves"][0][0] == "d1c2" and data["played"] == 1 and data["loss"] == 0


@pytest.mark.parametrize(
    ("fen", "uci", "end"),
    [
        ("7k/8/5KQ1/8/8/8/8/8 w - - 0 1", "g6g7", "checkmate"),
        ("7k/8/4K1Q1/8/8/8/8/8 w - - 0 1", "e6f7", "draw: stalemate"),
        ("7k/8/8/8/8/8/6r1/5R1K w - - 99 80", "f1f8", "draw: fifty-move rule"),
    ],
)
def test_a_value_by_rule_says_how_the_game_ends(fen, uci, end):
    board = chess.Board(fen)
    moves = ordered_legal_moves(board)
    values = np.full(len(moves), 0.5, np.float32)
    index = moves.index(chess.Move.from_uci(uci))
    values[index] = 1.0
    data = position_data(board, Analysis(moves, values, by_rule=values_by_rule(board, moves, "all")))
    assert data["by_rule"][0] == end and data["moves"][0][0] == uci
    assert "by_rule" not in position_data(board, Analysis(moves, values))


@pytest.mark.slow
@needs("chromium")
def test_browser_says_of_a_mating_move_that_it_is_checkmate(folder):
    page = make_page(folder, "mate.html", "--fen", "7k/8/5KQ1/8/8/8/8/8 w - - 0 1")
    dom = dom_of(page, "#move=g6g7")
    assert '<abbr title="By the rules of chess: checkmate">100.0%</abbr>' in dom
    legend = re.search('<p class="names">(.*?)</p>', dom, re.S)[1]
    assert "(checkmate)" in legend and "draw" not in legend


def test_a_headline_names_a_model_without_the_digest_of_its_weights():
    game = chess.pgn.Game({"White": "chess_3m#0a1b2c3d exact-ends draws", "Black": "user/name#ffffffff"})
    data = game_data(Game("games.pgn game 1", 1, game.headers, chess.Board()))
    names = [player["name"] for player in data["players"]]
    assert names == ["chess_3m exact-ends draws", "user/name"]


def test_a_game_that_ends_by_repetition_is_drawn_and_one_that_goes_on_is_not():
    board = chess.Board()
    for san in ["Nf3", "Nf6", "Ng1", "Ng8"] * 2:
        board.push_san(san)
    moves = ordered_legal_moves(board)
    analysis = Analysis(moves, np.full(len(moves), 0.7, np.float32))
    ended = position_data(board, analysis)
    assert ended["over"] == "threefold repetition" and ended["white"] == 0.5
    continued = position_data(board, analysis, played=moves[0])
    assert "over" not in continued and continued["white"] == pytest.approx(0.7)


def test_final_positions_follow_the_rules():
    none = Analysis([], np.zeros(0, np.float32))
    for fen, over, white in (
        ("R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30", "checkmate", 1),
        ("8/8/8/8/8/6r1/6q1/6K1 w - - 0 90", "checkmate", 0),
        ("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "stalemate", 0.5),
    ):
        data = position_data(chess.Board(fen), none)
        assert (data["over"], data["white"], data["moves"]) == (over, white, [])


@pytest.mark.slow
@needs("chromium")
def test_largest_losses_are_a_few_and_in_order(position_page):
    losses = [0.3, 0.01, 0.06, 0.2, 0.07, 0.04, 0.5, 0.08]
    with open_page(position_page.as_uri()) as page:
        found = [
            page.evaluate("largestLosses", [{"loss": loss} for loss in some] + [{}])
            for some in (losses, [0.049])
        ]
    assert found == [[0, 3, 4, 6, 7], []]


@pytest.mark.parametrize(("num_bins", "padding"), [(16, 0.0), (64, 0.0), (101, 0.0), (128, 0.1), (7, 0.3)])
def test_regrouped_histogram_keeps_mass_and_mean(num_bins, padding):
    width = (1 + 2 * padding) / num_bins
    support = (-padding + width * (np.arange(num_bins) + 0.5)).astype(np.float32)
    inside = (support > width / 2) & (support < 1 - width / 2)
    probs = np.random.default_rng(0).random((3, num_bins)).astype(np.float32) * inside
    probs /= probs.sum(axis=1, keepdims=True)
    histograms = display_histograms(probs, support)
    assert histograms.shape == (3, 64) and (histograms >= 0).all()
    np.testing.assert_allclose(histograms.sum(axis=1), 1, atol=1e-6)
    # Each bin spreads its mass evenly, so that means agree up to what the new bins blur.
    centres = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(histograms @ centres, probs @ support, atol=1e-3)
    if num_bins == 64:
        np.testing.assert_allclose(histograms, probs, atol=1e-6)


def test_mass_beyond_the_axis_is_shown_at_its_ends():
    support = np.linspace(-0.3, 1.3, 9, dtype=np.float32)
    probs = np.eye(9, dtype=np.float32)[[0, 8]]
    histograms = display_histograms(probs, support)
    assert histograms[0, 0] == pytest.approx(1) and histograms[1, -1] == pytest.approx(1)
    assert encode_histogram(histograms[0]) == [1.0, "_" + "0" * 63]


def test_page_loads_nothing(position_page, game_page):
    for page in (position_page, game_page):
        text = page.read_text()
        assert "default-src 'none'" in text
        # The namespace of SVG is a name, and the paper a link.
        code = text.replace(html.escape(ATTACK), "").split('<script type="application/json"')
        outside = code[0] + code[1].split("</script>", 1)[1]
        urls = set(re.findall(r"https?://[^\"'\s<)]+", outside))
        assert urls == {"http://www.w3.org/2000/svg", "https://arxiv.org/abs/2403.03950"}
        assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)|@import|url\(", outside)


def test_html_in_headers_stays_text(game_page):
    text = game_page.read_text()
    assert ATTACK not in text and html.escape(ATTACK) in text
    assert text.count("<script") == 2 and text.count("</script>") == 2
    players = data_of(game_page)["game"]["players"]
    assert [player["name"] for player in players] == ["{{data}} & Söhne", ATTACK]


@pytest.mark.slow
@needs("chromium")
def test_browser_shows_every_legal_move(position_page):
    dom = dom_of(position_page, "#move=e2a6")
    shown = re.findall(r'<tr[^>]* data-move="(\w+)"', dom)
    assert sorted(shown) == sorted(move.uci() for move in chess.Board(SHARP).legal_moves)
    # The move of the fragment has the only arrow.
    assert re.findall(r'data-arrow="(\w+)"', dom) == ["e2a6"]
    assert dom.count("<use ") == len(chess.Board(SHARP).piece_map())


@pytest.mark.slow
@needs("chromium")
def test_browser_steps_through_a_game_and_runs_nothing_of_its_headers(game_page):
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));"
    dom = dom_of(game_page, "#ply=2", script=key)
    assert "injected" not in re.findall(r"<html[^>]*>", dom)[0] and "<img" not in dom
    board = chess.Board()
    for san in ("e4", "e5", "Qh5"):
        board.push_san(san)
    shown = re.findall(r'<tr[^>]* data-move="(\w+)"', dom)
    assert sorted(shown) == sorted(move.uci() for move in board.legal_moves)
    assert '<tr class="is-played" tabindex="-1" data-move="e8e7">' in dom
    assert html.escape(ATTACK, quote=False) in re.search("<h1.*?</h1>", dom, re.S)[0]
    last = dom_of(game_page, "#ply=5")
    assert "Checkmate: White wins." in last
    losses = [
        [position["loss"] for position in data_of(game_page)["positions"][start:-1:2]] for start in (0, 1)
    ]
    means = [100 * sum(lost) / len(lost) for lost in losses]
    assert f"Mean loss: White {means[0]:.1f}%" in last and f"Black {means[1]:.1f}%" in last
    assert re.findall(r"first choice in \d of (\d)", last) == ["3", "2"]


@pytest.mark.slow
@needs("chromium")
def test_model_without_distribution_shows_values_alone(folder, tmp_path, monkeypatch):
    output = tmp_path / "page.html"
    run_here(monkeypatch, "--model", folder / "mse", "--fen", SHARP, "--output", output)
    [position] = data_of(output)["positions"]
    assert {len(move) for move in position["moves"]} == {3}
    dom = dom_of(output)
    assert dom.count("<tr ") == len(position["moves"]) and "without a distribution" in dom


MATED = "R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fen", "not a position"], "--fen: "),
        (["--fen", "8/8/8/8/8/8/8/K7 w - - 0 1"], "cannot occur in chess: no black king"),
        (["--fen", MATED], "has no legal move to value"),
        (["--pgn", "missing.pgn"], "missing.pgn: no such file"),
        (["--pgn", "games.pgn", "--game", "5"], "games.pgn has no game 5"),
        (["--pgn", "empty.pgn"], "empty.pgn has no game 1"),
        (["--pgn", "games.pgn", "--game", "3"], "games.pgn game 3 has no moves"),
        (["--pgn", "games.pgn", "--game", "4"], "games.pgn game 4: a null move"),
        (["--pgn", "illegal.pgn"], "illegal.pgn game 1: 'Qh9' is not a move; correct or remove the game"),
        (["--pgn", "games.pgn", "--model", "nowhere"], "nowhere: no such folder"),
        (["--fen", SHARP, "--output", "."], ". is a folder"),
        (["--pgn", "games.pgn", "--pgn-output", "page.html"], "are both page.html: give two files"),
    ],
)
def test_bad_input_is_an_error_and_leaves_the_page_unchanged(
    arguments, message, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "games.pgn", "games.pgn")
    (tmp_path / "empty.pgn").touch()
    (tmp_path / "illegal.pgn").write_text("1. e4 e5 2. Qh9 *")
    (tmp_path / "page.html").write_text("earlier")
    options = ["--model", folder / "model", "--output", "page.html", "--overwrite", *arguments]
    with pytest.raises(SystemExit) as stopped:
        run_here(monkeypatch, *options)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert (tmp_path / "page.html").read_text() == "earlier"
    assert not list(tmp_path.glob(".*"))


def test_page_is_replaced_with_overwrite_only(folder, tmp_path, monkeypatch, capsys):
    output = tmp_path / "page.html"
    output.write_text("earlier")
    options = ["--model", folder / "model", "--fen", SHARP, "--output", output]
    with pytest.raises(SystemExit):
        run_here(monkeypatch, *options)
    assert "replace it with --overwrite" in capsys.readouterr().err and output.read_text() == "earlier"
    run_here(monkeypatch, *options, "--overwrite")
    assert data_of(output)["positions"][0]["fen"] == SHARP


def test_games_before_the_one_asked_for_need_not_be_good(tmp_path):
    path = tmp_path / "games.pgn"
    path.write_text('1. e4 Ke4 *\n\n[Variant "Crazyhouse"]\n\n1. d4 *\n\n1. e4 e5 *\n\n1. Qh9 *\n')
    boards, played = boards_of_game(read_game(path, 3))
    assert [move and move.uci() for move in played] == ["e2e4", "e7e5", None]
    assert len(boards) == 3


def test_game_needs_a_pgn(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_here(monkeypatch, "--model", "any", "--fen", SHARP, "--game", 2, "--output", "page.html")
    assert stopped.value.code == 2 and "--pgn" in capsys.readouterr().err
