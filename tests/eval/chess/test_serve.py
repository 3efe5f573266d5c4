"""The page on which one plays: it shows the analysis of every position, and a game can be played out."""

import re

import chess
import pytest
from playwright.sync_api import expect

from cli.errors import InputError
from eval.chess import strength
from eval.chess.analyse import analyse_boards
from eval.chess.engines import ValueEngine
from eval.chess.serve import PageHandlers
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_move_values import tiny
from tests.support.browser import READY, open_page, serving
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs


START = chess.STARTING_FEN
# White promotes with mate after any answer to 1.Rb7, since the king has only the last rank.
LADDER = "6k1/P7/8/8/8/8/8/1R4K1 w - - 0 1"
KINDS = {"action_value": tiny_model, "state_value": lambda: tiny("state_value"), "move": lambda: tiny("move")}


@pytest.fixture(scope="module", params=KINDS)
def engine(request):
    return ValueEngine(KINDS[request.param]().eval(), ChessTokenizer())


@pytest.fixture(scope="module")
def handlers():
    return PageHandlers(ValueEngine(tiny_model().eval(), ChessTokenizer()))


def test_a_position_is_the_analysis_of_it_with_the_moves_in_san(engine):
    moves = ["e2e4", "e7e5", "f1c4", "a7a6", "d1h5", "a6a5"]
    board = chess.Board()
    sans = [board.san_and_push(chess.Move.from_uci(uci)) for uci in moves]
    data = PageHandlers(engine).position({"fen": START, "moves": moves})
    assert data.pop("played_san") == sans
    assert [data] == analyse_boards(engine, [board], [None])
    assert data["moves"][0][:2] == ["h5f7", "Qxf7#"] and data["last"] == "a6a5"


@pytest.mark.parametrize(
    ("fen", "moves", "over", "white"),
    [
        (START, ["f2f3", "e7e5", "g2g4", "d8h4"], "checkmate", 0),
        ("7k/8/6K1/8/8/8/5Q2/8 w - - 0 1", ["f2f7"], "stalemate", 0.5),
        (START, ["g1f3", "g8f6", "f3g1", "f6g8"] * 2, "threefold repetition", 0.5),
        ("7k/8/8/8/8/8/6r1/5R1K w - - 99 80", ["f1f8"], "fifty-move rule", 0.5),
        ("7k/8/8/8/8/8/8/5r1K w - - 0 80", ["h1h2", "f1f8", "h2h1", "f8g8"], None, None),
        ("7k/8/8/8/8/8/6r1/7K w - - 0 80", ["h1g2"], "insufficient material", 0.5),
    ],
)
def test_a_game_is_over_by_every_rule(handlers, fen, moves, over, white):
    data = handlers.position({"fen": fen, "moves": moves})
    assert data.get("over") == over
    if over:
        assert data["white"] == white
    else:
        assert data["white"] == data["moves"][0][2]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"fen": "nonsense", "moves": []}, "FEN: "),
        ({"fen": "8/8/8/8/8/8/8/K7 w - - 0 1", "moves": []}, "cannot occur in chess: no black king"),
        (
            {"fen": "4k3/8/4R3/8/8/8/8/4K3 w - - 0 1", "moves": []},
            "the king of the side that is not to move is",
        ),
        ({"fen": START, "moves": ["e2e4", "e2e4"]}, "move 2: 'e2e4' is not a legal move in rnbqkbnr/pppp"),
        ({"fen": START, "moves": ["0000"]}, "move 1: '0000' is not a legal move"),
        ({"fen": START, "moves": [["e2e4"]]}, "is not a legal move"),
        ({"fen": START}, "give a position as"),
        ({"moves": []}, "give a position as"),
    ],
)
def test_a_faulty_position_is_refused_with_one_line(handlers, body, line):
    with pytest.raises(InputError) as refused:
        handlers.position(body)
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_the_first_game_of_a_pgn_is_read(handlers):
    text = f'[White "Morphy"]\n[Black "?"]\n[FEN "{LADDER}"]\n\n1. Rb7 (1. Kg2) Kf8 2. a8=Q# 1-0\n\n1. e4 *\n'
    assert handlers.pgn({"text": text}) == {
        "fen": LADDER,
        "moves": ["b1b7", "g8f8", "a7a8q"],
        "white": "Morphy",
        "black": "",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the text has no game: give its moves"),
        ('[White "Morphy"]\n\n*', "the text has no game: give its moves"),
        ("1. e4 Ke4 *", "the game cannot be read: 1...Ke4 is not a legal move"),
        ("nonsense", "is not a move"),
        (5, "give a game as"),
    ],
)
def test_a_faulty_pgn_is_refused_with_one_line(handlers, text, line):
    with pytest.raises(InputError) as refused:
        handlers.pgn({"text": text})
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_levels_have_the_measured_ratings_of_the_shipped_model_alone(tmp_path):
    assert strength.levels(strength.SHIPPED_MODEL, is_policy=False)[0] == (0.0, 1253)
    assert {elo for _, elo in strength.levels(tmp_path, is_policy=False)} == {None}
    assert [temperature for temperature, _ in strength.levels(tmp_path, is_policy=True)] == [0.0, 0.5, 1.0]


def test_bad_options_are_an_error(tmp_path):
    result = run_command("eval.chess.serve", "--port", "80")
    assert result.returncode == 2 and "'80' is not a port from 1024 to 65535" in result.stderr
    assert_input_error(run_command("eval.chess.serve", "--model", tmp_path), "no config.json")


class Player:
    """A person at the page, who uses the mouse and the keyboard."""

    def __init__(self, page):
        self.page = page

    def point(self, square):
        board = self.page.locator("#board")
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        file, rank = "abcdefgh".index(square[0]), int(square[1])
        size = box["width"] / 8
        return box["x"] + size * (file + 0.5), box["y"] + size * (8 - rank + 0.5)

    def click(self, *squares):
        for square in squares:
            self.page.mouse.click(*self.point(square))

    def drag(self, source, target):
        self.page.mouse.move(*self.point(source))
        self.page.mouse.down()
        self.page.mouse.move(*self.point(target), steps=3)
        self.page.mouse.up()

    def type(self, move):
        self.page.fill("#typed", move)
        self.page.press("#typed", "Enter")

    def load(self, text):
        if not self.page.locator("#text").is_visible():
            self.page.click("summary")
        self.page.fill("#text", text)
        self.page.click("#load")

    def wait_for_moves(self, number):
        expect(self.page.locator("#moves button")).to_have_count(number + 1)  # the last is the result

    def message(self):
        return self.page.inner_text("#message")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder with a model of every kind."""
    folder = tmp_path_factory.mktemp("models")
    for kind, make in KINDS.items():
        make().save_pretrained(folder / kind)
        ChessTokenizer().save_pretrained(folder / kind)
    return folder


def play_to_mate(page, name):
    """Play on a page against the model `name`, and mate it."""
    person = Player(page)
    assert page.inner_text("h1") == f"You – {name}"
    person.click("e2", "e4")
    person.wait_for_moves(2)
    assert re.fullmatch(rf"{name} plays 1…\S+\.", person.message())
    assert "Your move: 1.e4 is" in page.inner_text("#statement")
    person.click("e2", "e7")  # an empty square, and a piece of the model
    person.type("e9")
    assert person.message().startswith("e9 is not a legal move here")
    person.type("nf3")
    person.wait_for_moves(4)
    page.click("#back")
    person.wait_for_moves(2)
    game = page.evaluate("playedMoves(2)")
    page.reload()
    page.wait_for_selector(READY, state="attached")
    person.wait_for_moves(2)
    assert page.evaluate("playedMoves(2)") == game
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("ply") == 1

    person.load(LADDER)
    person.wait_for_moves(0)
    person.drag("b1", "b7")
    person.wait_for_moves(2)
    person.click("a7", "a8")
    page.click('[data-promotion="q"]')
    person.wait_for_moves(3)
    assert "Checkmate: White wins." in page.inner_text("#statement")
    assert page.inner_text("h1").endswith("1–0")
    assert page.evaluate("positions.at(-1).fen").startswith("Q")


@pytest.mark.slow
@needs("chromium")
def test_a_person_plays_to_mate_by_clicks_and_drags(folders):
    with serving("eval.chess.serve", "--model", folders / "action_value") as url, open_page(url) as page:
        play_to_mate(page, "action_value")


@pytest.mark.slow
@needs("chromium")
def test_the_model_plays_the_other_side_and_a_level_samples_its_moves(folders):
    with (
        serving("eval.chess.serve", "--model", folders / "action_value") as url,
        open_page(url) as page,
    ):
        person = Player(page)
        page.select_option("#side", "black")
        person.wait_for_moves(1)
        assert page.inner_text("h1") == "action_value – You"
        best = page.evaluate("positions[0].moves[0][0]")
        assert page.evaluate("playedMoves(1)") == [best]
        # The share of the best move among samples, next to the softmax that MoveChoice defines.
        share, expected = page.evaluate(
            """() => {
                level = 0.02;
                const drawn = Array.from({ length: 4000 }, () => chooseMove(positions[0]));
                const weights = positions[0].moves.map(([, , value]) => Math.exp(value / level));
                const share = drawn.filter((uci) => uci === positions[0].moves[0][0]).length / 4000;
                return [share, weights[0] / weights.reduce((sum, weight) => sum + weight)];
            }"""
        )
        assert share == pytest.approx(expected, abs=0.04)

        person.load("1. e4 e5 2. Nf3 Nc6 *")
        person.wait_for_moves(4)
        assert page.evaluate("playedMoves(4)") == ["e2e4", "e7e5", "g1f3", "b8c6"]
        page.keyboard.press("Home")
        person.type("e2e4")  # the move of the game keeps the rest of it
        assert page.evaluate("[ply, positions.length]") == [1, 5]
        person.type("d5")
        person.wait_for_moves(2)
        person.load("8/8 w - - 0 1")
        page.wait_for_selector("#message.error")
        assert "expected 8 rows" in person.message()
        assert page.evaluate("positions.length") == 3


IS_SEEN = """(id) => {
    const element = document.getElementById(id), box = element.getBoundingClientRect();
    return element.contains(document.elementFromPoint(box.left + 20, box.top + 5));
}"""


@pytest.mark.slow
@needs("chromium")
@pytest.mark.parametrize("width", [320, 1280])
def test_a_game_is_loaded_in_view_and_survives_a_reload(folders, width):
    with (
        serving("eval.chess.serve", "--model", folders / "action_value") as url,
        open_page(url, viewport={"width": width, "height": 600}) as page,
    ):
        person = Player(page)
        page.select_option("#side", "black")
        person.wait_for_moves(1)
        person.load("1. e4 Ke4 *")
        page.wait_for_selector("#message.error")
        assert page.evaluate(IS_SEEN, "message")
        person.load('[White "Anderssen & Co"]\n\n1. e4 e5 2. Nf3 *')
        person.wait_for_moves(3)
        assert page.evaluate(IS_SEEN, "board")

        page.keyboard.press("ArrowLeft")
        page.click("[aria-label^=Flip]")
        page.locator("#table tbody tr").nth(5).click()
        shown = "[names, side, own, flipped, ply, pinned, positions.length]"
        expected = [["Anderssen & Co", "Black"], "both", "black", False, 2, 5, 4]
        assert page.evaluate(shown) == expected
        page.reload()
        page.wait_for_selector(READY, state="attached")
        person.wait_for_moves(3)
        assert page.evaluate(shown) == expected
        assert page.inner_text("h1") == "Anderssen & Co – Black"
        page.evaluate("names = ['half of \\ud83d', 'Black']; writeFragment()")
        assert "white=half+of+%EF%BF%BD" in page.evaluate("location.hash")
        page.click("#new")
        person.wait_for_moves(1)
        assert page.evaluate(shown) == [["White", "Black"], "black", "black", False, 1, None, 2]


# The server gets a request for a position when `releaseOne` is called, which returns after the answer.
HOLD = """() => {
    const { position } = source, held = [];
    const count = () => { document.documentElement.dataset.held = held.length; };
    source.position = (body) => new Promise((resolve) => {
        held.push(() => {
            const answer = position(body);
            resolve(answer);
            return answer.then(() => null, () => null);
        });
        count();
    });
    window.releaseOne = () => { const ask = held.shift(); count(); return ask(); };
}"""


def release(page, number=1):
    for _ in range(number):
        page.wait_for_selector('html[data-held]:not([data-held="0"])', state="attached")
        page.evaluate("releaseOne()")


@pytest.mark.slow
@needs("chromium")
def test_what_a_person_does_before_an_answer_keeps_the_game(folders):
    with serving("eval.chess.serve", "--model", folders / "action_value") as url, open_page(url) as page:
        person = Player(page)
        shown = "[ply, positions.length, side]"
        person.load("1. e4 e5 2. Nf3 Nc6 *")
        person.wait_for_moves(4)
        page.keyboard.press("Home")
        page.evaluate(HOLD)

        # A step to the end while a move is awaited that cuts the game.
        person.click("d2", "d4")
        page.keyboard.press("End")
        assert page.evaluate(shown) == [4, 5, "both"]
        release(page)
        assert page.evaluate(shown) == [1, 2, "both"]

        # Moves and sides while a game is loaded.
        person.load("1. e4 e5 2. Nf3 *")
        release(page)
        person.click("d2", "d4")
        page.select_option("#side", "black")
        page.select_option("#side", "white")
        release(page, 3)
        assert page.evaluate(shown) == [3, 4, "white"]

        # A faulty position while the model's move is awaited, which then is no longer awaited.
        person.load("8/8 w - - 0 1")
        release(page, 2)
        assert "expected 8 rows" not in person.message()  # the model is asked again
        release(page)
        assert page.evaluate(shown) == [4, 5, "white"]
        assert "expected 8 rows" in person.message()

        # The side whose move the model chose.
        person.click("d2", "d4")
        release(page)
        page.select_option("#side", "black")
        release(page)
        assert page.evaluate(shown) == [5, 6, "black"]
        assert page.evaluate("canPlay()")
        page.click("#new")
        page.select_option("#side", "both")
        release(page)
        assert page.evaluate(shown) == [0, 1, "both"]


@pytest.mark.slow
@needs("chromium")
def test_a_faulty_address_opens_the_game_that_it_holds(folders):
    with serving("eval.chess.serve", "--model", folders / "action_value") as url, open_page(url) as page:
        for fault in ("ply=x", "ply=-1", "ply=1.5", "side=toString"):
            page.goto("about:blank")
            page.goto(f"{url}#{fault}&moves=e2e4.e7e5")
            page.wait_for_selector(READY, state="attached")
            assert page.evaluate("[ply, positions.length, side]") == [2, 3, "white"]


@pytest.mark.slow
@needs("chromium")
def test_a_finger_drags_a_piece_and_does_not_scroll_the_page(folders):
    phone = {"viewport": {"width": 390, "height": 780}, "has_touch": True}
    with (
        serving("eval.chess.serve", "--model", folders / "action_value") as url,
        open_page(url, **phone) as page,
    ):
        person = Player(page)
        person.wait_for_moves(0)
        (x, start), (_, end) = person.point("e2"), person.point("e4")
        finger = page.context.new_cdp_session(page)
        corner = x + 15  # where the piece is transparent
        for kind, y in (
            ("Start", start),
            *(("Move", start + (end - start) * part / 4) for part in range(1, 5)),
        ):
            finger.send(
                "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": [{"x": corner, "y": y}]}
            )
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        person.wait_for_moves(2)
        assert page.evaluate("playedMoves(1)[0]") == "e2e4" and page.evaluate("scrollY") == 0


@pytest.mark.slow
@needs("chromium")
@pytest.mark.parametrize("kind", ["state_value", "move"])
def test_models_of_states_and_of_moves_play_too(folders, kind):
    with serving("eval.chess.serve", "--model", folders / kind) as url, open_page(url) as page:
        person = Player(page)
        person.click("d2", "d4")
        person.wait_for_moves(2)
        assert page.locator("#bar").is_visible() == (kind == "state_value")
        assert ("win probability" in page.inner_text("#statement")) == (kind == "state_value")


@pytest.mark.slow
@needs("chromium")
def test_a_server_that_does_not_answer_is_one_line_in_the_page(folders):
    with (
        serving("eval.chess.serve", "--model", folders / "action_value") as url,
        open_page(url, expected_error="ERR_INTERNET_DISCONNECTED") as page,
    ):
        person = Player(page)
        page.context.set_offline(True)
        person.click("e2", "e4")
        page.wait_for_selector("#message.error")
        assert person.message().startswith("The server does not answer.")
        page.context.set_offline(False)
        person.click("e2", "e4")
        person.wait_for_moves(2)
        assert "error" not in page.get_attribute("#message", "class")
