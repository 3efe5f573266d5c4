"""Annotated PGN: python-chess reads back evaluations, glyphs and better moves that are the model's."""

import chess
import chess.pgn
import pytest

from data.chess.game_files import read_game
from eval.chess import analyse
from eval.chess.analyse import analyse_boards, boards_of_game
from eval.chess.annotated_game import annotate
from eval.chess.engines import ValueEngine
from tests.eval.chess.test_play import run_here


GAME = '[White "A"]\n[Black "B"]\n[Result "1-0"]\n\n1. e4 {good} e5 (1... c5) 2. Qh5 Ke7 3. Qxe5# 1-0\n'


@pytest.fixture
def game(tmp_path):
    (tmp_path / "game.pgn").write_text(GAME)
    return read_game(tmp_path / "game.pgn", 1)


@pytest.mark.parametrize(
    ("loss", "glyph"), [(0.049, None), (0.05, 6), (0.099, 6), (0.1, 2), (0.149, 2), (0.15, 4), (1.0, 4)]
)
def test_glyphs_are_those_of_lichess_for_the_loss(game, model_folder, loss, glyph):
    positions = analyse_boards(ValueEngine(model_folder, device="cpu"), *boards_of_game(game))
    for position in positions[:-1]:
        position["loss"] = 0.0
    positions[2]["loss"] = loss
    first, _, third, *_ = annotate(game, positions, "tiny").mainline()
    assert first.nags == set() and first.comment.startswith("[%eval ")
    assert third.nags == ({glyph} if glyph else set())


def test_a_game_has_the_models_evaluations_and_its_better_moves(
    game, model_folder, tmp_path, monkeypatch, capfd
):
    output = tmp_path / "annotated.pgn"
    arguments = ("--model", model_folder, "--device", "cpu", "--pgn", tmp_path / "game.pgn")
    result = run_here(analyse.main, monkeypatch, capfd, *arguments, "--pgn-output", output)
    assert result.returncode == 0, result.stderr
    assert max(map(len, output.read_text().splitlines())) <= 80
    with output.open() as file:
        annotated = chess.pgn.read_game(file)
    assert annotated.errors == [] and annotated.headers["White"] == "A"
    assert [node.san() for node in annotated.mainline()] == ["e4", "e5", "Qh5", "Ke7", "Qxe5#"]
    engine = ValueEngine(model_folder, device="cpu")
    for node in annotated.mainline():
        parent = node.parent
        before = engine.analyse(parent.board())
        loss = before.values.max() - before.values[before.moves.index(node.move)]
        assert bool(node.nags) == (loss >= 0.05) == (len(parent.variations) == 2)
        if node.nags:
            assert parent.variations[1].move == before.best_move
            assert f"{parent.board().san(before.best_move)} was best." in node.comment
    *_, after_king_move, mate = annotated.mainline()
    # White mates on the next move; a game that is over has no evaluation.
    assert after_king_move.eval() == chess.engine.PovScore(chess.engine.Mate(1), chess.WHITE)
    assert after_king_move.nags and mate.eval() is None and not mate.nags
    assert next(iter(annotated.mainline())).eval().white().score() is not None


def test_an_annotated_game_needs_a_game(model_folder, monkeypatch, capfd):
    arguments = ("--model", model_folder, "--fen", chess.STARTING_FEN, "--pgn-output", "annotated.pgn")
    result = run_here(analyse.main, monkeypatch, capfd, *arguments)
    assert result.returncode == 2 and "--pgn-output: it needs --pgn FILE" in result.stderr
