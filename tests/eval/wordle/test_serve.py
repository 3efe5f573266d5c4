"""The page of Wordle in a browser: a game is played and advice is given by the page's own clicks and keys."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from data.wordle.games import GameDescription
from eval.wordle.advised_game import AdvisedGame
from eval.wordle.model_player import ModelPlayer
from eval.wordle.page_answers import PageAnswers
from tests.eval.wordle.test_advice import WORDS
from tests.eval.wordle.test_main import save_model
from tests.support.browser import open_page, serving
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs
from tests.support.wordle_feedback import feedback
from tests.support.wordle_models import tiny_token_model


COLOURS = {"g": "green", "y": "yellow", "b": "grey"}
GAME = GameDescription(WORDS, "official")
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def answers() -> PageAnswers:
    return PageAnswers(AdvisedGame(ModelPlayer(tiny_token_model(num_hidden_layers=1)), GAME), seed=0)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serve") / "model"
    save_model(folder, GAME)
    with serving("eval.wordle.serve", "--model", folder) as address:
        yield address


def click_keys(page: Page, word: str) -> None:
    for key in (*word, "Enter"):
        page.click(f'#keyboard [data-key="{key}"]')


def type_keys(page: Page, word: str) -> None:
    page.keyboard.type(word)
    page.keyboard.press("Enter")


def row(page: Page, board: str, number: int) -> tuple[str, list[str]]:
    """Return the letters and the colours of a row of tiles."""
    tiles = page.locator(f"#{board} .row").nth(number).locator(".tile")
    classes = [tile.get_attribute("class").split() for tile in tiles.all()]
    return "".join(tiles.all_text_contents()), [name for names in classes for name in names if name != "tile"]


def colours_of(pattern: str) -> list[str]:
    return [COLOURS[colour] for colour in pattern]


@needs("chromium")
@pytest.mark.slow
def test_a_game_is_played_to_its_end_next_to_that_of_the_model(address, answers):
    secret, wrong = answers.secret(5), next(word for word in WORDS.guesses if word != answers.secret(5))
    with open_page(f"{address}/#game=5") as page:
        click_keys(page, wrong)
        page.wait_for_selector("#own-board .row:first-child .green, #own-board .row:first-child .grey")
        assert row(page, "board", 0) == (wrong, colours_of(feedback(secret, wrong)))
        own = answers.play({"number": 5, "guesses": [wrong]})["own"]
        assert row(page, "own-board", 0) == ("", colours_of(own[0]))

        type_keys(page, "zzzzz")
        page.wait_for_selector('#message.error:text("is not one of the 446 allowed guesses")')
        page.click('summary:text("The 446 allowed guesses")')
        assert page.inner_text(".allowed").split() == sorted(WORDS.guesses)
        for _ in range(5):
            page.click('[data-key="Backspace"]')
        assert page.locator("#message.error").count() == 0

        page.click('[data-key="advice"]')
        first = answers.advise({"guesses": [wrong], "patterns": [feedback(secret, wrong)]})
        shown = page.locator("#table tbody tr").first
        assert shown.get_attribute("data-word") == first["words"][0]["word"]
        assert shown.locator("td.histogram svg").is_visible()
        assert f"{first['num_left']:,} word" in page.inner_text("#advice-tools")

        page.reload()
        page.wait_for_selector(f'#board .row:first-child[aria-label^="{wrong[0].upper()}"]')
        type_keys(page, secret)
        page.wait_for_selector('h1:text("You found it in 2")')
        assert f"The word was {secret.upper()}" in page.inner_text("#lede")
        assert row(page, "board", 1) == (secret, ["green"] * 5)
        finished = answers.play({"number": 5, "guesses": [wrong, secret]})
        own_words = [turn["word"] for turn in finished["own_turns"]]
        tables = page.locator("#turns table")
        assert [text.split() for text in tables.nth(1).locator(".row").all_inner_texts()] == [
            list(word.upper()) for word in own_words
        ]
        assert tables.nth(0).locator("tbody tr").count() == 2 and page.locator("#keyboard").is_hidden()


@needs("chromium")
@pytest.mark.slow
def test_advice_follows_the_colours_of_a_game_elsewhere_on_a_narrow_screen(address, answers):
    secret, guess = "abler", "clang"
    pattern = feedback(secret, guess)
    with open_page(address, viewport=NARROW) as page:
        page.click("text=Advise me")
        page.wait_for_selector('h1:text("The model would guess")')
        page.keyboard.type(guess)
        # A click on a grey tile makes it yellow, and one more green.
        for index, colour in enumerate(pattern):
            for _ in range("byg".index(colour)):
                page.locator("#board button").nth(index).click()
        page.keyboard.press("Enter")
        advice = answers.advise({"guesses": [guess], "patterns": [pattern]})
        page.wait_for_selector(f'h1:text("The model would guess {advice["words"][0]["word"].upper()}")')
        assert f"{advice['num_left']} word" in page.inner_text("#lede")

        type_keys(page, "clangggggg")
        page.wait_for_selector('#message.error:text("fits none of the words left")')
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        page.click("text=Undo")
        page.wait_for_selector('#lede:text("446 words left")')
        type_keys(page, "ablerggggg")
        page.wait_for_selector('h1:text("Found in 1")')


@needs("chromium")
@pytest.mark.slow
@pytest.mark.parametrize("number", ["99999999", "1e400", "nonsense"])
def test_a_game_that_does_not_exist_is_one_message_and_another_game(address, number):
    with open_page(f"{address}/#game={number}") as page:
        assert page.inner_text("#message").startswith(f"there is no game {number}: they are numbered from 1")
        type_keys(page, "clang")
        page.wait_for_selector('#lede:text("guess 2 of 6")')


@needs("chromium")
@pytest.mark.slow
def test_advice_is_shown_once_and_stays_hidden_if_the_server_does_not_answer(address):
    with open_page(f"{address}/#game=5", expected_error="ERR_INTERNET_DISCONNECTED") as page:
        button = page.locator('[data-key="advice"]')
        page.context.set_offline(True)
        button.click()
        page.wait_for_selector("#message.error")
        assert button.inner_text() == "Show the model’s advice"
        page.context.set_offline(False)
        page.evaluate("() => { toggleAdvice(); toggleAdvice(); }")  # the second comes before the answer
        page.wait_for_selector("#table tbody tr")
        assert button.inner_text() == "Hide advice"


def test_bad_options_are_an_error_in_one_line(tmp_path):
    assert_input_error(run_command("eval.wordle.serve", "--model", tmp_path), "no config.json")
    result = run_command("eval.wordle.serve", "--model", tmp_path, "--port", "80")
    assert result.returncode == 2 and "'80' is not a port" in result.stderr
