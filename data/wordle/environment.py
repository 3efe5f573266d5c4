"""Wordle as Gymnasium environments: one game, and many at once.

    env = WordleEnv("american_446")
    observation, info = env.reset(seed=0, options={"secret": "abler"})
    observation, reward, terminated, truncated, info = env.step(env.words.index("aches"))

An action is the index of an allowed guess. The reward is −1 for a wrong guess and 0 for the right one, so
returns lie in [−6, 0]. A game ends when the secret is found, or after six turns. Observations:

    guesses  (6, 5) uint8: letters from 0 to 25; 26 where there is none yet
    colours  (6, 5) uint8: 0 black, 1 yellow, 2 green; 3 where there is none
    turn     number of turns taken

`info` has `won` and `invalid`, and at the end of a game `secret`. The action −1, which is not in the action
space, is a guess that is not an allowed word, as a language model may write: it takes the turn and shows no
letters and no colours.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from cli.errors import InputError
from data.wordle.feedback_table import feedback_table
from data.wordle.rules import ALL_GREEN, EMPTY_LETTER, NUM_LETTERS, NUM_TURNS, PATTERN_DIGITS, words_of
from data.wordle.words import WordLists, load_word_lists


INVALID_GUESS = -1
NO_COLOUR = 3
SQUARES = ("⬛", "🟨", "🟩", "  ")

Observation = dict[str, Any]


def observation_space() -> spaces.Dict:
    """Return the observation space of one game."""
    board = (NUM_TURNS, NUM_LETTERS)
    return spaces.Dict(
        {
            "guesses": spaces.Box(0, EMPTY_LETTER, board, np.uint8),
            "colours": spaces.Box(0, NO_COLOUR, board, np.uint8),
            "turn": spaces.Discrete(NUM_TURNS + 1),
        }
    )


def _find_secrets(words: WordLists, secrets: Sequence[str]) -> np.ndarray:
    """Return the indices of secret words among the answers: (n,) int64."""
    indices = {word: index for index, word in enumerate(words.answers)}
    for word in secrets:
        if word not in indices:
            raise InputError(f"{word!r} is not one of the {len(indices)} secret words")
    return np.array([indices[word] for word in secrets], dtype=np.int64)


class WordleEnv(gymnasium.Env):
    """One game of Wordle at a time.

    `words` are word lists, or the name or file of one. A reset samples a secret word, unless the option
    `secret` names it. Raises InputError, a ValueError, for an action or a secret that does not exist.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self, words: WordLists | str | None = None, rule: str = "official", render_mode: str | None = None
    ) -> None:
        self.words = words if isinstance(words, WordLists) else load_word_lists(words)
        self.rule, self.render_mode = rule, render_mode
        self.observation_space = observation_space()
        self.action_space = spaces.Discrete(len(self.words.guesses))
        self._table = feedback_table(self.words, rule)
        self._guesses = np.empty((NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._colours = np.empty((NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._turn = 0
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a game."""
        super().reset(seed=seed)
        if options and "secret" in options:
            (self._secret,) = _find_secrets(self.words, [options["secret"]])
        else:
            self._secret = self.np_random.integers(len(self.words.answers))
        self._guesses[:], self._colours[:] = EMPTY_LETTER, NO_COLOUR
        self._turn, self._is_over = 0, False
        return self._observe(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Guess a word."""
        if self._is_over:
            raise ResetNeeded("the game is over: call reset() first")
        is_valid = self.action_space.contains(action)
        if is_valid:
            code = self._table[action, self._secret]
            self._guesses[self._turn] = self.words.guess_letters[action]
            self._colours[self._turn] = PATTERN_DIGITS[code]
        elif action != INVALID_GUESS:
            raise InputError(
                f"action {action!r} is not the index of one of {len(self.words.guesses)} guesses"
            )
        self._turn += 1
        won = is_valid and bool(code == ALL_GREEN)
        self._is_over = won or self._turn == NUM_TURNS
        info: dict[str, Any] = {"won": won, "invalid": not is_valid}
        if self._is_over:
            info["secret"] = self.words.answers[self._secret]
        return self._observe(), 0.0 if won else -1.0, self._is_over, False, info

    def render(self) -> str | None:
        """Return the game as lines of a word and coloured squares."""
        if self.render_mode is None:
            return None
        words, colours = words_of(self._guesses[: self._turn]), self._colours[: self._turn]
        squares = ("".join(SQUARES[colour] for colour in row) for row in colours)
        return "\n".join(f"{word} {row}" for word, row in zip(words, squares, strict=True))

    def _observe(self) -> Observation:
        return {
            "guesses": self._guesses.copy(),
            "colours": self._colours.copy(),
            "turn": np.int64(self._turn),
        }


class WordleVectorEnv(VectorEnv):
    """Many games of Wordle at once, in NumPy: the same as many `WordleEnv`, dozens of times as fast.

    One random generator samples the secrets of all games. The option `secret` of `reset` is one word for all
    games, or a list with a word for each. A game that is over restarts in the next step, which ignores its
    action, as in Gymnasium's `AutoresetMode.NEXT_STEP`.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int, words: WordLists | str | None = None, rule: str = "official") -> None:
        self.num_envs = num_envs
        self.words = words if isinstance(words, WordLists) else load_word_lists(words)
        self.rule = rule
        self.single_observation_space = observation_space()
        self.single_action_space = spaces.Discrete(len(self.words.guesses))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._table = feedback_table(self.words, rule)
        self._answers = np.array(self.words.answers, dtype=object)
        self._rows = np.arange(num_envs)
        self._secrets = np.zeros(num_envs, dtype=np.int64)
        self._guesses = np.empty((num_envs, NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._colours = np.empty((num_envs, NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._turns = np.zeros(num_envs, dtype=np.int64)
        self._is_over = np.zeros(num_envs, dtype=bool)
        self._is_started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start all games."""
        super().reset(seed=seed)
        self._start(np.ones(self.num_envs, dtype=bool))
        if options and "secret" in options:
            secrets = options["secret"]
            secrets = _find_secrets(self.words, [secrets] if isinstance(secrets, str) else secrets)
            if len(secrets) not in (1, self.num_envs):
                raise InputError(f"{len(secrets)} secrets for {self.num_envs} games: give one for each game")
            self._secrets[:] = secrets
        self._is_started = True
        return self._observe(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Guess a word in every game; games that are over restart instead."""
        if not self._is_started:
            raise ResetNeeded("no game was started: call reset() first")
        actions = self._check_actions(actions)
        is_played, is_valid = ~self._is_over, actions != INVALID_GUESS
        codes = self._table[actions, self._secrets]
        # Games that are over may have no turn left; what is written there is overwritten by `_start`.
        turns = np.minimum(self._turns, NUM_TURNS - 1)
        self._guesses[self._rows, turns] = np.where(
            is_valid[:, None], self.words.guess_letters[actions], EMPTY_LETTER
        )
        self._colours[self._rows, turns] = np.where(is_valid[:, None], PATTERN_DIGITS[codes], NO_COLOUR)
        self._turns = turns + 1
        won = (codes == ALL_GREEN) & is_valid & is_played
        is_over = (won | (self._turns == NUM_TURNS)) & is_played
        secrets = np.full(self.num_envs, None, dtype=object)
        secrets[is_over] = self._answers[self._secrets[is_over]]
        # Gymnasium's form: `_key` is the mask of the games that have `key`.
        infos: dict[str, Any] = {}
        if is_played.any():
            infos |= {"won": won, "_won": is_played, "invalid": ~is_valid & is_played, "_invalid": is_played}
        if is_over.any():
            infos |= {"secret": secrets, "_secret": is_over}
        self._start(~is_played)
        self._is_over = is_over
        rewards = np.where(won | ~is_played, 0.0, -1.0)
        return self._observe(), rewards, is_over.copy(), np.zeros(self.num_envs, dtype=bool), infos

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or not np.issubdtype(actions.dtype, np.integer):
            raise InputError(f"actions must be {self.num_envs} integers, not {actions.dtype} {actions.shape}")
        is_known = (actions >= INVALID_GUESS) & (actions < len(self.words.guesses))
        if not is_known.all():
            game = int((~is_known).argmax())
            raise InputError(
                f"action {actions[game]} of game {game} is not the index of one of {len(self.words.guesses)} "
                "guesses"
            )
        return actions

    def _start(self, games: np.ndarray) -> None:
        """Start new games where `games` (num_envs,) is true."""
        self._secrets[games] = self.np_random.integers(len(self.words.answers), size=int(games.sum()))
        self._guesses[games], self._colours[games] = EMPTY_LETTER, NO_COLOUR
        self._turns[games], self._is_over[games] = 0, False

    def _observe(self) -> Observation:
        return {
            "guesses": self._guesses.copy(),
            "colours": self._colours.copy(),
            "turn": self._turns.copy(),
        }


# gymnasium.make("data.wordle.environment:Wordle-v0"), and make_vec likewise.
gymnasium.register(
    "Wordle-v0",
    entry_point="data.wordle.environment:WordleEnv",
    vector_entry_point="data.wordle.environment:WordleVectorEnv",
)
