"""Bad input of eval.chess.play: an error in one line, and earlier files stay unchanged."""

import pytest

from eval.chess import play
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_play import GAME, run_here
from tests.support.commands import assert_input_error


@pytest.fixture
def run(model_folder, monkeypatch, capfd):
    def run(*arguments: object, model: object = model_folder):
        return run_here(play.main, monkeypatch, capfd, "--model", model, "--device", "cpu", *arguments)

    return run


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--opponent", "nobody"), ("unknown opponent 'nobody': give one of human, stockfish, stockfish:",)),
        (("--opponent", "uci:/nowhere"), ("/nowhere: no such program",)),
        (("--opponent", "random", "--games", 3), ("--games 3", "give an even number")),
        (("--opponent", "random", "--nodes", 3), ("random does not search", "--nodes")),
        (("--opponent", "human", "--sprt", "0,10"), ("--sprt is for a match between engines",)),
        (("--opponent", "random", "--color", "white"), ("--color is for a human",)),
        (("--opponent", "human", "--time", 3), ("human does not search",)),
        (("--opponent", "random", "--openings", "EMPTY"), ("holds no openings",)),
        (("--opponent", "random", "--pgn", "FOLDER"), ("is a folder",)),
        (("--opponent", "random", "--pgn", "EARLIER"), ("games.pgn exists", "--overwrite")),
        (("--opponent", "random", "--json", "FOLDER"), ("is a folder",)),
    ],
)
def test_bad_input_is_an_error_and_leaves_earlier_files_unchanged(run, tmp_path, options, parts):
    earlier, empty = tmp_path / "games.pgn", tmp_path / "empty.pgn"
    earlier.write_text(GAME)
    empty.touch()
    paths = {"EMPTY": empty, "FOLDER": tmp_path, "EARLIER": earlier}
    options = [paths.get(option, option) for option in options]
    if "--pgn" not in options:
        options += ["--pgn", earlier, "--overwrite"]
    assert_input_error(run("--games", 2, *options), *parts)
    assert earlier.read_text() == GAME
    assert sorted(tmp_path.iterdir()) == [empty, earlier]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--games", value) for value in ("0", "-2", "x", "1.5")),
        *(("--temperature", value) for value in ("-0.1", "nan", "warm")),
        *(("--margin", value) for value in ("-1", "nan")),
        *(("--time", value) for value in ("0", "inf", "nan", "-1")),
        *(("--nodes", value) for value in ("0", "1e3")),
        *(("--sprt", value) for value in ("10", "10,0", "0,x", "0,101", "0,nan")),
        *(("--exact-ends", "some"), ("--color", "green"), ("--dtype", "int8")),
    ],
)
def test_values_out_of_range_are_errors_that_name_the_option(run, option, value):
    result = run("--opponent", "random", option, value)
    assert result.returncode == 2
    assert f"error: argument {option}" in result.stderr.splitlines()[-1] and value in result.stderr


def test_a_broken_model_is_an_error_and_leaves_earlier_files_unchanged(run, model_folder, tmp_path):
    earlier = tmp_path / "games.pgn"
    earlier.write_text(GAME)
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    tiny_model().save_pretrained(damaged)
    ChessTokenizer().save_pretrained(damaged)
    (damaged / "model.safetensors").write_bytes(b"not weights")
    for model, opponent, part in (
        (tmp_path / "nowhere", "random", "no such folder"),
        (tmp_path / "empty", "random", "no config.json"),
        (damaged, "random", "damaged cannot be loaded"),
        (model_folder, f"model:{tmp_path / 'empty'}", "no config.json"),
        (model_folder, f"model:{damaged}", "damaged cannot be loaded"),
    ):
        result = run("--opponent", opponent, "--pgn", earlier, "--overwrite", model=model)
        assert_input_error(result, str(tmp_path), part)
        assert earlier.read_text() == GAME
