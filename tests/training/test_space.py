"""The page without Python: the values and rules of Python in the browser, its folder and its Space."""

import json
import re
import shutil
import sys
from collections.abc import Callable

import pytest
from huggingface_hub import ModelCard, SpaceCard

from cli.errors import InputError
from cli.options import SHIPPED_MODEL
from eval.chess.analyse import HEIGHTS
from eval.chess.board_page import FOLDER
from eval.chess.engines import ValueEngine
from eval.chess.serve import PageHandlers
from eval.loading import CHESS
from models.tokenization_chess import ChessTokenizer
from scripts.page_in_chromium import serving_folder
from tests.eval.chess.test_serve import KINDS, LADDER, START, Player, play_to_mate
from tests.support.browser import open_page
from tests.support.programs import needs
from tests.support.pushed_run import REPO
from tests.support.wordle_models import tiny_token_model
from training import publish, space
from training.onnx_export import export_onnx
from training.space import CHESS_MODELS, check_space, is_on_hub, publish_space, write_space


SPACE = "user/play"
TOLERANCE = 1e-3  # of weights in float16
BITS = 2  # of the 63 heights of a histogram's bars
GAMES = [
    {"fen": START, "moves": []},
    {"fen": START, "moves": ["e2e4", "e7e5", "f1c4", "a7a6", "d1h5", "a6a5"]},
    {"fen": START, "moves": ["f2f3", "e7e5", "g2g4", "d8h4"]},
    {"fen": START, "moves": ["g1f3", "g8f6", "f3g1", "f6g8"] * 2},
    {"fen": START, "moves": (["g1f3", "g8f6", "f3g1", "f6g8"] * 2)[:-1]},
    {"fen": "7k/8/4Q1K1/8/8/8/8/8 w - - 0 1", "moves": []},
    {"fen": "7k/8/8/8/8/8/6r1/5R1K w - - 98 80", "moves": ["f1f8"]},
    {"fen": "4k3/6P1/8/8/4p3/8/3P4/4K2R w K - 0 1", "moves": ["d2d4"]},
    {"fen": LADDER.replace(" w ", " b "), "moves": []},
]
FAULTY_GAMES = [
    {"fen": "nonsense", "moves": []},
    {"fen": START, "moves": ["e2e4", "e2e4"]},
    {"fen": START, "moves": ["0000"]},
    {"fen": "8/8/8/8/8/8/8/K7 w - - 0 1", "moves": []},
    {"fen": "4k3/8/4R3/8/8/8/8/4K3 w - - 0 1", "moves": []},
    {"fen": "4k3/8/8/8/8/8/8/4K3 w K - 0 1", "moves": []},
    {"fen": "4k3/8/8/8/8/8/8/4K2r b - e3 0 1", "moves": []},
]
POSITION = "(game) => source.position(game)"


@pytest.fixture
def call(monkeypatch) -> Callable:
    """Call a command in this process."""

    def call(module, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()

    return call


def assert_same(ours: dict, theirs: dict) -> None:
    """Assert that the data of a position are those of Python, up to the precision of the weights."""
    moves, expected = ({listed[0]: listed[1:] for listed in data.pop("moves")} for data in (ours, theirs))
    ends, expected_ends = (
        {list(moves)[int(rank)]: end for rank, end in data.pop("by_rule", {}).items()}
        for moves, data in ((moves, ours), (expected, theirs))
    )
    assert ends == expected_ends
    assert ours.pop("white", None) == pytest.approx(theirs.pop("white", None), abs=TOLERANCE)
    assert ours == theirs
    assert moves.keys() == expected.keys()
    for uci, (san, value, *histogram) in moves.items():
        assert san == expected[uci][0]
        assert value == pytest.approx(expected[uci][1], abs=TOLERANCE)
        assert len(histogram) == len(expected[uci]) - 2
        if histogram:
            assert histogram[0] == pytest.approx(expected[uci][2], abs=TOLERANCE)
            heights = [[HEIGHTS.index(bar) for bar in bars] for bars in (histogram[1], expected[uci][3])]
            assert heights[0] == pytest.approx(heights[1], abs=BITS)


@pytest.mark.slow
@needs("chromium", "npm")
@pytest.mark.parametrize("kind", ["shipped", "state_value", "move"])
def test_the_page_of_every_kind_of_model_shows_what_python_finds(kind, shipped_space, tmp_path):
    model, folder = SHIPPED_MODEL, shipped_space
    if kind != "shipped":
        model, folder = tmp_path / "model", tmp_path / "page"
        KINDS[kind]().save_pretrained(model)
        ChessTokenizer().save_pretrained(model)
        export_onnx(model, "chess")
        publish_space(model, str(folder))
    handlers = PageHandlers(ValueEngine(model, device="cpu"))
    with serving_folder(folder) as url, open_page(url) as page:
        for game in GAMES:
            expected = json.loads(json.dumps(handlers.position(game)))
            assert_same(page.evaluate(POSITION, game), expected)
        for game in FAULTY_GAMES:
            line = page.evaluate(f"(game) => ({POSITION})(game).catch((error) => error.message)", game)
            assert isinstance(line, str) and "\n" not in line
            with pytest.raises(InputError):
                handlers.position(game)


@pytest.mark.slow
@needs("chromium", "npm")
def test_a_person_plays_to_mate_without_python(shipped_space):
    asked = []
    with serving_folder(shipped_space) as url, open_page(url) as page:
        page.on("request", lambda request: asked.append(request.url))
        play_to_mate(page, "chess_3m")
        Player(page).load("1. e4 e5 2. Nf3 (2. f4 {a gambit}) {The main line} 2... Nc6 *")
        Player(page).wait_for_moves(4)
        assert page.evaluate("playedMoves(4)") == ["e2e4", "e7e5", "g1f3", "b8c6"]
    assert asked and all(address.startswith(url) for address in asked)


@pytest.mark.slow
@needs("chromium", "npm")
def test_a_page_that_is_opened_as_a_file_says_how_to_show_it(shipped_space):
    with open_page((shipped_space / "index.html").as_uri(), expected_error="origin") as page:
        assert "open it from a server of files" in page.inner_text("#message")


@pytest.mark.slow
@needs("npm")
def test_a_model_and_its_space_are_pushed_with_links_to_each_other(copied_run, own_hub, npm_tarballs, call):
    call(publish, "--run", copied_run, "--repo", REPO, "--space", SPACE)
    model, page = own_hub.files("models", REPO), own_hub.files("spaces", SPACE)
    assert own_hub.repositories["spaces", SPACE].sdk == "static"
    card = SpaceCard(page["README.md"].decode())
    assert (card.data.sdk, card.data.models) == ("static", [REPO])
    assert f"{own_hub.url}/spaces/{SPACE}" in ModelCard(model["README.md"].decode()).text
    assert page["model_fp16.onnx"] == model["onnx/model_fp16.onnx"]
    assert {"index.html", "worker.js", "chess.js", "onnxruntime.wasm", "LICENSES.md"} <= page.keys()
    assert str(copied_run) not in page["index.html"].decode()
    assert f"python -m eval.chess.serve --model {REPO}" in page["index.html"].decode()


@pytest.mark.slow
@needs("npm")
def test_a_page_names_its_model_and_licence_and_no_folder_of_this_machine(shipped_space, tmp_path):
    assert SpaceCard.load(shipped_space / "README.md").data.license == "apache-2.0"
    model = tmp_path / "a model"
    shutil.copytree(SHIPPED_MODEL, model)
    (model / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    for licence in ("cc-by-4.0", None):
        write_space(model, tmp_path / str(licence))
        assert SpaceCard.load(tmp_path / str(licence) / "README.md").data.license == licence
        (model / "README.md").unlink(missing_ok=True)
    page = (tmp_path / "None/index.html").read_text()
    assert "Play a model" in page and "eval.chess.serve" not in page and str(tmp_path) not in page


def test_a_space_is_on_the_hub_unless_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_on_hub("user/name")
    assert not any(map(is_on_hub, ("name", "./user/name", "/user/name", "some/user/name")))
    (tmp_path / "user").mkdir()
    assert not is_on_hub("user/name")


def test_a_space_that_cannot_be_written_is_refused(tmp_path, own_hub, monkeypatch, call, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/worker.js").touch()
    with pytest.raises(InputError, match=r"thesis exists and is not a Space"):
        check_space(str(tmp_path / "thesis"))
    for task in ("wordle", "atari"):
        with pytest.raises(InputError, match=rf"{task} have no page .*chess and.*Wordle .*wordle\.serve"):
            check_space(str(tmp_path / "page"), task)
    with pytest.raises(SystemExit, match="2"):
        call(space, "--model", SHIPPED_MODEL, "--space", tmp_path / "page", "--private")
    assert "--private needs a --space on the hub" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(InputError, match="not logged in"):
        check_space(SPACE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("training.npm_packages.REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="try again when online"):
        check_space(str(tmp_path / "page"))


def test_a_model_without_onnx_files_and_one_of_wordle_have_no_space(model_folder, tmp_path):
    tiny_token_model(num_hidden_layers=1).save_pretrained(tmp_path / "wordle")
    with pytest.raises(InputError, match=r"holds ValueTransformerForTokenValue, .*eval\.wordle\.serve"):
        publish_space(tmp_path / "wordle", str(tmp_path / "page"))
    with pytest.raises(InputError, match=r"no onnx/model_fp16\.onnx.*python -m training\.onnx_export"):
        publish_space(model_folder, str(tmp_path / "page"))
    assert not (tmp_path / "page").exists()


def test_the_page_can_value_the_moves_of_every_model_that_plays_chess():
    script = (FOLDER / "worker/position_data.js").read_text()
    table = script.partition("const VALUES = {")[2].partition("}")[0]
    classes = {model.__name__ for model in CHESS.classes}
    assert set(re.findall(r"\w+(?=:)", table)) == set(CHESS_MODELS) == classes
