"""Wordle as Gymnasium environments: one game, and thousands at once.

    env = WordleEnv(load_word_lists("american_446"))
    observation, info = env.reset(seed=0, options={"secret": "abler"})
    observation, reward, terminated, truncated, info = env.step(env.words.index("aches"))

An action is a place in the list of allowed guesses. The reward is −1 for a wrong guess and 0 for the right
one, so returns lie in [−6, 0]; a game ends when the secret is found or after six turns. An observation is all
that the player has seen:

    guesses  (6, 5) uint8: letters from 0 to 25, and 26 in turns to come
    colours  (6, 5) uint8: 0 black, 1 yellow, 2 green, and 3 where nothing was shown
    turn     how many of the six are over

`info` holds `won` and `invalid`, and at the end of a game its `secret`.

In hard mode a guess must use the hints (data/wordle/rules.py). `invalid_guess` says what becomes of one that
does not: "penalise" takes the turn and −1 and shows no colours; with "mask" it is an error, and there is
`info["action_mask"]`, int8, with a 1 for every guess that is allowed, as `action_space.sample` takes it.
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
from data.wordle.rules import ALL_GREEN, EMPTY_LETTER, NUM_LETTERS, NUM_TURNS, PATTERN_DIGITS, Hints, words_of
from data.wordle.words import WordLists, load_word_lists


NO_COLOUR = 3
INVALID_GUESS = ("penalise", "mask")
SQUARES = ("⬛", "🟨", "🟩", "  ")

Observation = dict[str, Any]


def observation_space() -> spaces.Dict:
    """Return the space of what a player sees of one game."""
    board = (NUM_TURNS, NUM_LETTERS)
    return spaces.Dict(
        {
            "guesses": spaces.Box(0, EMPTY_LETTER, board, np.uint8),
            "colours": spaces.Box(0, NO_COLOUR, board, np.uint8),
            "turn": spaces.Discrete(NUM_TURNS + 1),
        }
    )


class Secrets:
    """Where secrets come from: drawn from all, or taken from a list in its order, over and over.

    `fixed` are words; InputError if one may not be secret. `take` and `places` give places among the answers.
    """

    def __init__(self, words: WordLists, fixed: Sequence[str] | None) -> None:
        self._places = {word: place for place, word in enumerate(words.answers)}
        if fixed is not None and len(fixed) == 0:
            raise InputError("the list of fixed secrets is empty: name some, or none for all secret words")
        self._fixed = None if fixed is None else self.places(fixed)
        self._num_taken = 0

    def places(self, secrets: Sequence[str]) -> np.ndarray:
        """Return the places of words among the answers: (n,) int64."""
        for word in secrets:
            if word not in self._places:
                raise InputError(f"{word!r} is not one of the {len(self._places)} secret words")
        return np.array([self._places[word] for word in secrets], dtype=np.int64)

    def restart(self) -> None:
        """Return to the beginning of the list."""
        self._num_taken = 0

    def take(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return the next so many secrets: (number,) int64."""
        if self._fixed is None:
            return rng.integers(len(self._places), size=number)
        turns = np.arange(self._num_taken, self._num_taken + number)
        self._num_taken += number
        return self._fixed[turns % len(self._fixed)]


def _check_invalid_guess(invalid_guess: str) -> None:
    if invalid_guess not in INVALID_GUESS:
        raise InputError(f"invalid_guess cannot be {invalid_guess!r}: choose {' or '.join(INVALID_GUESS)}")


def _check_options(options: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    unknown = sorted((options or {}).keys() - set(known))
    if unknown:
        raise InputError(f"reset knows no option {unknown[0]!r}: it takes {' and '.join(known)}")
    return options or {}


class WordleEnv(gymnasium.Env):
    """One game of Wordle at a time.

    An action is the place of a word among `words.guesses`; `words` are lists, or the name or path of one.
    `secrets` are taken in their order, over and over, from the first after a reset with a seed; without them
    a secret word is drawn. `reset(options={"secret": word})` sets that of one game. Raises InputError, which
    is a ValueError, for secrets, actions and options that do not exist.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self,
        words: WordLists | str | None = None,
        rule: str = "official",
        secrets: Sequence[str] | None = None,
        hard_mode: bool = False,
        invalid_guess: str = "penalise",
        render_mode: str | None = None,
    ) -> None:
        _check_invalid_guess(invalid_guess)
        self.words = words if isinstance(words, WordLists) else load_word_lists(words)
        self.rule, self.hard_mode, self.invalid_guess = rule, hard_mode, invalid_guess
        self.render_mode = render_mode
        self.observation_space = observation_space()
        self.action_space = spaces.Discrete(len(self.words.guesses))
        self._table = feedback_table(self.words, rule)
        self._secrets = Secrets(self.words, secrets)
        self._hints = Hints(self.words.guess_letters, rule, num_games=1) if hard_mode else None
        self._guesses = np.empty((NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._colours = np.empty((NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._turn = 0
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a game."""
        super().reset(seed=seed)
        options = _check_options(options, ["secret"])
        if seed is not None:
            self._secrets.restart()
        if "secret" in options:
            (secret,) = self._secrets.places([options["secret"]])
        else:
            (secret,) = self._secrets.take(1, self.np_random)
        self._secret = int(secret)
        self._guesses[:], self._colours[:] = EMPTY_LETTER, NO_COLOUR
        self._turn, self._is_over = 0, False
        if self._hints:
            self._hints.forget(np.array([True]))
        return self._observe(), self._mask()

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Guess a word."""
        if self._is_over:
            raise ResetNeeded("no game is being played: call reset() first")
        if not self.action_space.contains(action):
            raise InputError(
                f"action {action!r} is not a place among the {len(self.words.guesses)} allowed guesses"
            )
        is_valid = self._hints is None or bool(self._hints.allow(np.array([action]))[0])
        if not is_valid and self.invalid_guess == "mask":
            raise InputError(self._hints.objection(0, action))
        code = self._table[action, self._secret]
        self._guesses[self._turn] = self.words.guess_letters[action]
        if is_valid:
            self._colours[self._turn] = PATTERN_DIGITS[code]
        if self._hints:
            self._hints.learn(self._guesses[None, self._turn], self._colours[None, self._turn])
        self._turn += 1
        won = is_valid and bool(code == ALL_GREEN)
        self._is_over = won or self._turn == NUM_TURNS
        info = {"won": won, "invalid": not is_valid} | self._mask()
        if self._is_over:
            info["secret"] = self.words.answers[self._secret]
        return self._observe(), 0.0 if won else -1.0, self._is_over, False, info

    def render(self) -> str | None:
        """Return the game as lines of words and coloured squares."""
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

    def _mask(self) -> dict[str, np.ndarray]:
        if self.invalid_guess != "mask":
            return {}
        if self._hints is None:
            return {"action_mask": np.ones(len(self.words.guesses), dtype=np.int8)}
        return {"action_mask": self._hints.action_mask(0)}


class WordleVectorEnv(VectorEnv):
    """Many games of Wordle at once, in NumPy: the same as so many `WordleEnv`, dozens of times as fast.

    Fixed `secrets` are dealt out in their order to whichever game starts next. One generator draws for all
    games, so a seed is a single number. `reset` takes the options `secret`, a word or one for each game that
    is started, and `reset_mask` (num_envs,), the games to start. `autoreset_mode` is Gymnasium's.
    """

    def __init__(
        self,
        num_envs: int,
        words: WordLists | str | None = None,
        rule: str = "official",
        secrets: Sequence[str] | None = None,
        hard_mode: bool = False,
        invalid_guess: str = "penalise",
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        _check_invalid_guess(invalid_guess)
        if num_envs < 1:
            raise InputError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.words = words if isinstance(words, WordLists) else load_word_lists(words)
        self.rule, self.hard_mode, self.invalid_guess = rule, hard_mode, invalid_guess
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space()
        self.single_action_space = spaces.Discrete(len(self.words.guesses))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._table = feedback_table(self.words, rule)
        self._answers = np.array(self.words.answers, dtype=object)
        self._source = Secrets(self.words, secrets)
        self._hints = Hints(self.words.guess_letters, rule, num_envs) if hard_mode else None
        self._rows = np.arange(num_envs)
        self._secrets = np.zeros(num_envs, dtype=np.int64)
        self._guesses = np.empty((num_envs, NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._colours = np.empty((num_envs, NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
        self._turns = np.zeros(num_envs, dtype=np.int64)
        self._is_over = np.ones(num_envs, dtype=bool)
        self._is_started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start all games, or those of the option `reset_mask`."""
        super().reset(seed=seed)
        options = _check_options(options, ["secret", "reset_mask"])
        if seed is not None:
            self._source.restart()
        games = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if games.shape != (self.num_envs,) or games.dtype != bool:
            raise InputError(f"reset_mask must be {self.num_envs} booleans, not {games.dtype} {games.shape}")
        if not self._is_started and not games.all():
            raise ResetNeeded("no games are being played: call reset() without reset_mask first")
        self._start(games, options.get("secret"))
        self._is_started = True
        return self._observe(), self._mask(games)

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Guess a word in every game; those that were over start anew, as `autoreset_mode` has it."""
        if not self._is_started:
            raise ResetNeeded("no games are being played: call reset() first")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._is_over.any():
            game = int(self._is_over.argmax())
            raise ResetNeeded(f"game {game} is over: call reset(options={{'reset_mask': ...}}) with it first")
        actions = self._check_actions(actions)
        is_played = ~self._is_over
        is_valid = np.ones(self.num_envs, dtype=bool) if self._hints is None else self._hints.allow(actions)
        if self.invalid_guess == "mask" and not is_valid[is_played].all():
            game = int((is_played & ~is_valid).argmax())
            raise InputError(f"game {game}: {self._hints.objection(game, actions[game])}")
        codes = self._table[actions, self._secrets]
        letters = self.words.guess_letters[actions]
        colours = PATTERN_DIGITS[codes]
        colours[~is_valid] = NO_COLOUR
        # Games that are over may have no turn left; what is written there is cleared below.
        turns = np.minimum(self._turns, NUM_TURNS - 1)
        self._guesses[self._rows, turns] = letters
        self._colours[self._rows, turns] = colours
        self._turns = turns + 1
        if self._hints:
            self._hints.learn(letters, colours)
        won = (codes == ALL_GREEN) & is_valid & is_played
        is_over = (won | (self._turns == NUM_TURNS)) & is_played
        rewards = np.where(won | ~is_played, 0.0, -1.0)
        infos = self._infos(is_played, is_over, won, ~is_valid & is_played)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            self._start(is_over)
            self._is_over = np.zeros(self.num_envs, dtype=bool)
        else:
            self._start(~is_played)
            self._is_over = is_over
        infos |= self._mask(np.ones(self.num_envs, dtype=bool))
        return self._observe(), rewards, is_over.copy(), np.zeros(self.num_envs, dtype=bool), infos

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or not np.issubdtype(actions.dtype, np.integer):
            raise InputError(f"actions must be {self.num_envs} integers, not {actions.dtype} {actions.shape}")
        is_known = (actions >= 0) & (actions < len(self.words.guesses))
        if not is_known.all():
            game = int((~is_known).argmax())
            raise InputError(
                f"action {actions[game]} of game {game} is not a place among the {len(self.words.guesses)} "
                "allowed guesses"
            )
        return actions

    def _start(self, games: np.ndarray, secret: str | Sequence[str] | None = None) -> None:
        """Start new games where `games` (num_envs,) is true."""
        number = int(games.sum())
        if secret is None:
            secrets = self._source.take(number, self.np_random)
        else:
            secrets = self._source.places([secret] * number if isinstance(secret, str) else secret)
        if len(secrets) != number:
            raise InputError(f"{len(secrets)} secrets were given for {number} games: give one for each")
        self._secrets[games] = secrets
        self._guesses[games], self._colours[games] = EMPTY_LETTER, NO_COLOUR
        self._turns[games], self._is_over[games] = 0, False
        if self._hints:
            self._hints.forget(games)

    def _observe(self) -> Observation:
        return {
            "guesses": self._guesses.copy(),
            "colours": self._colours.copy(),
            "turn": self._turns.copy(),
        }

    def _infos(
        self, is_played: np.ndarray, is_over: np.ndarray, won: np.ndarray, invalid: np.ndarray
    ) -> dict[str, Any]:
        """Return what there is to say of a step, in Gymnasium's form: `_key` tells which games have `key`."""
        secrets = np.full(self.num_envs, None, dtype=object)
        secrets[is_over] = self._answers[self._secrets[is_over]]
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return _of_games(is_played, won=won, invalid=invalid) | _of_games(is_over, secret=secrets)
        is_on = is_played & ~is_over
        infos = _of_games(is_on, won=won & is_on, invalid=invalid & is_on)
        if not is_over.any():
            return infos
        last = _of_games(is_over, won=won & is_over, invalid=invalid & is_over, secret=secrets)
        if self.invalid_guess == "mask":
            last |= self._mask(is_over)
        observations = np.full(self.num_envs, None, dtype=object)
        for game in np.flatnonzero(is_over):
            observations[game] = {
                "guesses": self._guesses[game].copy(),
                "colours": self._colours[game].copy(),
                "turn": self._turns[game],
            }
        return infos | _of_games(is_over, final_obs=observations, final_info=last)

    def _mask(self, games: np.ndarray) -> dict[str, np.ndarray]:
        """Return the guesses that each of `games` allows, if asked for: (num_envs, num_guesses) int8."""
        if self.invalid_guess != "mask":
            return {}
        masks = np.zeros((self.num_envs, len(self.words.guesses)), dtype=np.int8)
        if self._hints is None:
            masks[games] = 1
        else:
            for game in np.flatnonzero(games):
                masks[game] = self._hints.action_mask(game)
        return _of_games(games, action_mask=masks)


def _of_games(games: np.ndarray, **values: Any) -> dict[str, Any]:
    """Return values with the games that they are of; nothing if they are of none."""
    if not games.any():
        return {}
    return values | {f"_{key}": games.copy() for key in values}


# gymnasium.make("data.wordle.environment:Wordle-v0"), and make_vec likewise.
gymnasium.register(
    "Wordle-v0",
    entry_point="data.wordle.environment:WordleEnv",
    vector_entry_point="data.wordle.environment:WordleVectorEnv",
)
