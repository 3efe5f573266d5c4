"""Wordle on a page of this machine: play against a model, or let it advise for a game elsewhere.

    python -m eval.wordle.serve --model runs/wordle_tiny/model

The page shows the values and distributions that `python -m eval.wordle --play` shows.
"""

import argparse
from pathlib import Path

from cli.errors import command
from cli.options import add_hardware_options, add_port_option, add_seed_option, add_trained_model_option
from eval.model_folder import check_model_folder
from eval.page_document import SHARED, make_document, read_parts
from eval.page_server import listen, make_app, run
from eval.wordle.game_options import add_game_options, game_to_play


FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("tiles.js", "values.js", "game.js", "page.js")


def render(data: dict) -> str:
    """Return the page of the data, of `page_data`."""
    body, style = read_parts(FOLDER, ["page.html"]), read_parts(FOLDER, ["wordle.css"])
    scripts = read_parts(SHARED, ["post.js"]) + read_parts(FOLDER, SCRIPTS)
    return make_document(
        f"Wordle · {data['model']['name']}", body, data, style, scripts, "connect-src 'self'"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.wordle.serve",
        description="Serve a page on this machine where you play Wordle against a model, or let it advise "
        "you in a game elsewhere. The page shows the words that the model prefers, with the returns that it "
        "expects and their predicted distributions.",
    )
    add_trained_model_option(parser, required=True)
    add_port_option(parser)
    add_seed_option(parser, "the secret words; with the same seed, a game's number means the same word")
    add_game_options(parser)
    add_hardware_options(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_model_folder(arguments.model)
    listener = listen(arguments.port)
    # These import torch, which takes seconds.
    from eval.wordle.advised_game import AdvisedGame
    from eval.wordle.model_player import ModelPlayer
    from eval.wordle.page_answers import PageAnswers, page_data

    player = ModelPlayer.load(arguments.model, arguments.device, arguments.dtype)
    game = AdvisedGame(player, game_to_play([player], arguments.words, arguments.guesses, arguments.rule))
    answers = PageAnswers(game, arguments.seed)
    page = render(page_data(game))
    run(make_app(page, {"play": answers.play, "advise": answers.advise}, arguments.port), listener)


if __name__ == "__main__":
    command(main)
