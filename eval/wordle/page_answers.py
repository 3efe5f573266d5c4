"""The answers to the page of Wordle: the colours of a game, and a model's advice.

A game is known by its number. The secret word is in no answer before the game is over.
"""

from functools import lru_cache

import numpy as np

from cli.errors import InputError
from data.wordle.rules import NUM_TURNS
from eval.wordle.advice import Advice
from eval.wordle.advised_game import AdvisedGame, ValuedTurn
from eval.wordle.drawing import ends_of


NUM_WORDS = 20  # of advice
NUM_GAMES = 999_999


class PageAnswers:
    """Answers requests. Every request has the whole game, so nothing is kept between them."""

    def __init__(self, game: AdvisedGame, seed: int):
        self._game, self._seed = game, seed
        self._own_game = lru_cache(maxsize=64)(lambda secret: game.own_game(secret, np.random.default_rng(0)))

    def secret(self, number: int) -> str:
        """Return the secret word of a numbered game."""
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(number,)))
        return str(rng.choice(self._game.words.answers))

    def play(self, body: dict) -> dict:
        """Return the colours of `guesses` in the game `number`, and of equally many guesses of the model.

        When the game is over, return also the secret word and both games with the model's values.
        """
        number, guesses = body.get("number"), texts_of(body, "guesses")
        if type(number) is not int or not 1 <= number <= NUM_GAMES:
            raise InputError(
                f"there is no game {str(number)[:20]}: they are numbered from 1 to {NUM_GAMES:,}"
            )
        secret = self.secret(number)
        patterns = [self._game.colours(secret, guess) for guess in guesses]
        if secret in guesses[:-1]:
            raise InputError(f"game {number} was over before the last guess")
        own = self._own_game(secret)
        answer = {"patterns": patterns, "own": [turn.pattern for turn in own[: len(guesses)]]}
        if len(guesses) < NUM_TURNS and secret not in guesses:
            return answer
        turns = self._game.valued_turns(guesses, patterns)
        return answer | {
            "secret": secret,
            "turns": [turn_data(turn) for turn in turns],
            "own_turns": [turn_data(turn) for turn in own],
        }

    def advise(self, body: dict) -> dict:
        """Return the number of words left after `guesses` with `patterns`, and the words of advice.

        After the last guess, there are no words of advice but those left.
        """
        guesses, patterns = texts_of(body, "guesses"), texts_of(body, "patterns")
        if len(guesses) != len(patterns):
            raise InputError("every guess needs its colours")
        for turn, (guess, pattern) in enumerate(zip(guesses, patterns, strict=True)):
            self._game.check_feedback(guess, pattern, guesses[:turn], patterns[:turn])
        left = self._game.words_left(guesses, patterns)
        if len(guesses) == NUM_TURNS:
            return {"num_left": len(left), "left": left[:NUM_WORDS]}
        words = self._game.advise(guesses, patterns, NUM_WORDS)
        return {
            "num_left": len(left),
            "words": [advice_data(advice) | {"may_be": advice.word in left} for advice in words],
        }


def texts_of(body: dict, key: str) -> list[str]:
    """Return a list of a request with one text per turn."""
    texts = body.get(key)
    is_list = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not is_list or len(texts) > NUM_TURNS:
        raise InputError(f"{key!r} must be a list of at most {NUM_TURNS} texts")
    return texts


def advice_data(advice: Advice) -> dict:
    """Return the page's data of a word: its value, and where there are any its advantage and distribution."""
    data = {"word": advice.word, "value": round(advice.value, 4)}
    if advice.advantage is not None:
        data["advantage"] = round(advice.advantage, 4)
    if advice.probabilities is not None:
        data["probs"] = [round(prob, 5) for prob in advice.probabilities.tolist()]
    return data


def turn_data(turn: ValuedTurn) -> dict:
    """Return the page's data of a turn."""
    return advice_data(turn.advice) | {"pattern": turn.pattern, "num_left": turn.num_left}


def page_data(game: AdvisedGame) -> dict:
    """Return the page's data of the model and of the game."""
    model = game.player.model
    return {
        "model": {
            "name": game.player.name,
            "parameters": model.num_parameters(),
            "value_loss": model.config.value_loss,
            "bins": model.value_loss.num_outputs,
        },
        "rule": game.rule,
        "num_answers": len(game.words.answers),
        "guesses": sorted(game.words.guesses),
        "num_games": NUM_GAMES,
        # The range of the returns of distributions.
        "ends": None if game.support is None else ends_of(game.support),
    }
