"""One game at a time takes the same steps as many games at a time."""

import numpy as np

from benchmarks.wordle import step_one_game
from data.wordle.environment import WordleEnv, WordleVectorEnv
from data.wordle.words import WordLists, load_word_lists


WORDS = WordLists(*[load_word_lists("american_446").answers[::4]] * 2)


def test_one_game_at_a_time_takes_the_steps_of_the_vector_environment():
    words = WordLists(WORDS.answers[:1], WORDS.guesses)
    actions = [20, 0, 7, *range(30, 40), 2, 60, 61]
    for num_actions in range(1, len(actions) + 1):
        envs = WordleVectorEnv(1, words)
        envs.reset()
        for action in actions[:num_actions]:
            expected = envs.step(np.array([action]))[0]
        observation = step_one_game(WordleEnv(words), actions[:num_actions])
        for key, value in observation.items():
            np.testing.assert_array_equal(value, expected[key][0])
