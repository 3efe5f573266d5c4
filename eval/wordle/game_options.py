"""Choose the game: from the options, or the one that the models were trained for."""

import argparse
from collections.abc import Sequence

from cli.errors import InputError
from data.wordle.games import GameDescription
from data.wordle.players import Player
from data.wordle.rules import RULES
from data.wordle.words import WordLists, add_word_options, load_word_lists, read_words


def add_game_options(parser: argparse.ArgumentParser) -> None:
    """Add --words, --guesses and --rule, for `game_to_play`."""
    title = "the game (the default of a model: the one that it was trained for)"
    about = "With --words alone, a model keeps its allowed guesses if they include the words."
    add_word_options(parser.add_argument_group(title, about))
    parser.set_defaults(rule=None)


def game_to_play(
    players: Sequence[Player], words: str | None, guesses: str | None, rule: str | None
) -> GameDescription:
    """Return the game of the options; where an option is missing, that of the models.

    Raises InputError if the models' game is not known, or differs between models.
    """
    from eval.wordle.model_player import ModelPlayer  # imports torch

    models = [player for player in players if isinstance(player, ModelPlayer)]
    games = []
    for model in models:
        if model.game is None and not (words and rule):
            raise InputError(f"{model.name}: its game is not known (no wordle.json): give --words and --rule")
        games.append(_with_options(model.game, words, guesses, rule))
        if not _are_equal(games[0], games[-1]):
            raise InputError(
                f"{models[0].name} and {model.name} were trained for different games: choose one with "
                "--words, --guesses and --rule"
            )
    return games[0] if games else _with_options(None, words, guesses, rule)


def _with_options(
    game: GameDescription | None, words: str | None, guesses: str | None, rule: str | None
) -> GameDescription:
    if game is None:
        return GameDescription(load_word_lists(words, guesses), rule or RULES[0])
    if words:
        lists = load_word_lists(words, guesses)
        if not guesses and set(lists.answers) <= set(game.words.guesses):
            lists = WordLists(lists.answers, game.words.guesses)
    elif guesses:
        lists = WordLists(game.words.answers, tuple(read_words(guesses)))
    else:
        lists = game.words
    return GameDescription(lists, rule or game.rule, game.policy)


def _are_equal(first: GameDescription, second: GameDescription) -> bool:
    """Return whether two games are equal except for the order of their words."""
    same_words = first.words.unordered_digest == second.words.unordered_digest
    return same_words and first.rule == second.rule
