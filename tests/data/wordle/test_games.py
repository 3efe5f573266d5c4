import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import SCHEMA
from data.wordle.games import ROWS_PER_GROUP, GameDescription, read_games, write_games
from data.wordle.players import make_player, play_games
from data.wordle.rules import NO_PATTERN, feedback_codes, words_of
from data.wordle.words import WordLists, load_word_lists
from tests.support.wordle_feedback import feedback


FAULTS = [
    ({"secret": None}, "secret 'None' is not one of 446 secret words"),
    ({"secret": "Slate"}, "secret 'Slate' is not one of 446 secret words"),
    ({"guesses": None}, "0 guesses; a game has 1 to 6"),
    ({"guesses": []}, "0 guesses; a game has 1 to 6"),
    ({"guesses": ["acute"] * 7}, "7 guesses; a game has 1 to 6"),
    ({"guesses": ["acute", None]}, "guess 'None' is not one of 446 allowed guesses"),
    ({"guesses": ["acute", "zzzzz"]}, "guess 'zzzzz' is not one of 446 allowed guesses"),
    ({"feedback": ["ggggg"]}, "feedback ['ggggg'] must be ['ybbgg', 'ggggg'] by the official rule"),
    ({"feedback": ["ggggy", "ggggg"]}, "feedback ['ggggy', 'ggggg'] must be ['ybbgg', 'ggggg'] by the"),
    ({"feedback": ["ybbgg", None]}, "feedback ['ybbgg', None] must be ['ybbgg', 'ggggg']"),
    ({"rewards": [-1.0]}, "rewards [-1.0] must be [-1.0, 0.0]"),
    ({"rewards": [0.0, 0.0]}, "rewards [0.0, 0.0] must be [-1.0, 0.0]"),
    ({"rewards": None}, "rewards None must be [-1.0, 0.0]"),
    ({"done": False}, "done False must be True"),
    ({"policy": None}, "policy is null"),
    (
        {"guesses": ["acute"], "feedback": ["ybbgg"], "rewards": [-1.0]},
        "the game stops after 1 wrong guesses: leave out unfinished games",
    ),
    (
        {"guesses": ["slate", "acute"], "feedback": ["ggggg", "ybbgg"], "rewards": [0.0, -1.0]},
        "there are guesses after the right one",
    ),
]


@pytest.fixture(scope="module")
def words():
    return load_word_lists("american_446")


@pytest.fixture(scope="module")
def games(words):
    rng = np.random.default_rng(0)
    return play_games(make_player("mixture:0.4"), words, "official", rng.integers(446, size=300), rng)


@pytest.fixture
def file(games, words, tmp_path):
    path = tmp_path / "games.parquet"
    write_games(path, [games[:200], games[200:]], GameDescription(words, "official", "mixture:0.4", 0))
    return path


def assert_same(games, others):
    for name, array in vars(games).items():
        np.testing.assert_array_equal(array, getattr(others, name))


def write_rows(path, rows, schema=SCHEMA, words=None):
    """Write rows as another program would, by default without a description of the game."""
    if words is not None:
        game = {"rule": "official", "answers": words.answers, "guesses": words.guesses}
        schema = schema.with_metadata({"wordle": json.dumps(game)})
    # Nullable, so that tests can write nulls.
    schema = pa.schema([pa.field(field.name, field.type) for field in schema], metadata=schema.metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def good_row(**changes):
    row = {"secret": "slate", "guesses": ["acute", "slate"], "feedback": ["ybbgg", "ggggg"]}
    return row | {"rewards": [-1.0, 0.0], "done": True, "policy": "me"} | changes


def test_games_come_back_as_they_were_written(games, words, file):
    again, description = read_games(file)
    assert_same(again, games)
    assert description == GameDescription(words, "official", "mixture:0.4", 0)


def test_rows_say_in_words_what_happened(games, file):
    rows = pq.read_table(file).to_pylist()
    assert [row["secret"] for row in rows] == words_of(games.secrets)
    for row, num_turns, won in zip(rows, games.num_turns, games.won, strict=True):
        assert row["feedback"] == [feedback(row["secret"], guess) for guess in row["guesses"]]
        assert row["rewards"] == [0.0 if guess == row["secret"] else -1.0 for guess in row["guesses"]]
        assert len(row["guesses"]) == num_turns
        assert (row["secret"] in row["guesses"]) == won
        assert row["done"] and row["policy"] == "mixture:0.4"


def test_returns_are_the_sums_of_rewards(games, file):
    rewards = [sum(row["rewards"]) for row in pq.read_table(file).to_pylist()]
    assert games.returns().tolist() == rewards
    assert set(np.unique(games.rewards())) == {-1.0, 0.0}
    assert games.returns().min() == -6


def test_nothing_is_written_when_the_games_break_off(games, words, tmp_path):
    def broken():
        yield games
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_games(tmp_path / "games.parquet", broken(), GameDescription(words, "official"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_files_is_read_like_one_file(games, words, tmp_path):
    description = GameDescription(words, "official", "mixture:0.4", 0)
    write_games(tmp_path / "b.parquet", [games[100:]], description)
    write_games(tmp_path / "a.parquet", [games[:100]], description)
    again, description = read_games(tmp_path)
    assert_same(again, games)
    assert description.policy == "mixture:0.4"


def test_games_of_two_rules_are_not_mixed(words, tmp_path):
    for rule in ("official", "simplified"):
        games = play_games(make_player("uniform"), words, rule, np.arange(5), np.random.default_rng(0))
        write_games(tmp_path / f"{rule}.parquet", [games], GameDescription(words, rule))
    with pytest.raises(InputError, match=r"simplified\.parquet: its rule or words differ from those of "):
        read_games(tmp_path)


def test_a_file_that_does_not_say_its_game_needs_to_be_told(words, tmp_path):
    write_rows(tmp_path / "games.parquet", [good_row()])
    games, description = read_games(tmp_path / "games.parquet", rule="official", words=words)
    assert games.won.tolist() == [True]
    assert description.words == words
    for arguments in ({}, {"rule": "official"}):
        with pytest.raises(InputError, match=r"games\.parquet: .* does not name the game: give the rule and"):
            read_games(tmp_path / "games.parquet", **arguments)


def test_files_that_are_being_written_are_left_out(words, tmp_path):
    write_rows(tmp_path / "games.parquet", [good_row()])
    (tmp_path / ".more.unfinished-7.parquet").write_bytes(b"PAR1")
    games, _ = read_games(tmp_path, rule="official", words=words)
    assert len(games) == 1


def test_a_file_of_another_game_than_asked_for_is_an_error(file):
    with pytest.raises(InputError, match="have the official rule, not the simplified one"):
        read_games(file, rule="simplified")
    with pytest.raises(InputError, match=r"446 secret and 446 allowed words.*1 secret and 1 allowed"):
        read_games(file, words=WordLists(("slate",), ("slate",)))


@pytest.mark.parametrize(("changes", "message"), FAULTS, ids=[message[:30] for _, message in FAULTS])
def test_a_faulty_row_is_an_error_that_names_it(words, tmp_path, changes, message):
    write_rows(tmp_path / "games.parquet", [good_row()] * 7 + [good_row(**changes), good_row()], words=words)
    with pytest.raises(InputError) as error:
        read_games(tmp_path / "games.parquet")
    assert f"games.parquet row 7: {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_are_counted_over_all_that_is_read_at_a_time(file, words, tmp_path):
    write_rows(tmp_path / "bad.parquet", [good_row(done=False)])
    good, bad = pq.read_table(file), pq.read_table(tmp_path / "bad.parquet")
    number = 1 + ROWS_PER_GROUP // len(good)
    pq.write_table(pa.concat_tables([good] * number + [bad.cast(good.schema)]), tmp_path / "games.parquet")
    with pytest.raises(InputError, match=rf"games\.parquet row {number * len(good)}: done"):
        read_games(tmp_path / "games.parquet", "official", words)


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_missing_column_is_an_error(words, tmp_path, name):
    schema = pa.schema([field for field in SCHEMA if field.name != name])
    write_rows(tmp_path / "games.parquet", [good_row()], schema, words)
    with pytest.raises(InputError, match=rf"games\.parquet: column '{name}' is missing.*wordle.generate"):
        read_games(tmp_path / "games.parquet")


def test_a_column_of_another_type_is_an_error(words, tmp_path):
    schema = SCHEMA.set(3, pa.field("rewards", pa.list_(pa.string())))
    write_rows(tmp_path / "games.parquet", [good_row(rewards=["-1", "0"])], schema, words)
    with pytest.raises(InputError, match=r"column 'rewards' is list<.*string>, must be list<.*float>"):
        read_games(tmp_path / "games.parquet")


def test_wider_types_of_other_writers_are_read(words, tmp_path):
    wide = pa.large_list(pa.large_string())
    types = [pa.large_string(), wide, wide, pa.list_(pa.int64()), pa.bool_(), pa.large_string()]
    fields = [pa.field(name, kind) for name, kind in zip(SCHEMA.names, types, strict=True)]
    write_rows(tmp_path / "games.parquet", [good_row(rewards=[-1, 0])], pa.schema(fields), words)
    games, _ = read_games(tmp_path / "games.parquet")
    assert games.returns().tolist() == [-1.0]
    assert words_of(games.guesses[0, :2]) == ["acute", "slate"]
    # Not exact as float32.
    write_rows(tmp_path / "games.parquet", [good_row(rewards=[2**24 + 1, 0])], pa.schema(fields), words)
    with pytest.raises(InputError, match=r"games\.parquet row 0: rewards \[16777216\.0, 0\.0\] must be"):
        read_games(tmp_path / "games.parquet")


def test_what_holds_no_games_is_an_error(words, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_games(tmp_path / "games.parquet")
    with pytest.raises(InputError, match=r"has no files that end in"):
        read_games(tmp_path)
    (tmp_path / "games.parquet").write_text("secret,guesses\n")
    with pytest.raises(InputError, match=r"games\.parquet: cannot be read as Parquet"):
        read_games(tmp_path / "games.parquet")
    write_rows(tmp_path / "games.parquet", [], words=words)
    with pytest.raises(InputError, match="has no games"):
        read_games(tmp_path / "games.parquet")


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        "[]",
        '{"rule": "official"}',
        '{"rule": "mine", "answers": ["slate"], "guesses": ["slate"]}',
        '{"rule": "official", "answers": "slate", "guesses": ["slate"]}',
        '{"rule": "official", "answers": ["slate"], "guesses": ["acute"]}',
    ],
)
def test_metadata_that_describe_no_game_are_an_error(tmp_path, metadata):
    write_rows(tmp_path / "games.parquet", [good_row()], SCHEMA.with_metadata({"wordle": metadata}))
    with pytest.raises(InputError, match=r"games\.parquet: its metadata 'wordle' is faulty"):
        read_games(tmp_path / "games.parquet")


@pytest.mark.parametrize("rule", ["official", "simplified"])
def test_candidates_are_the_answers_that_all_feedback_allows(words, rule):
    words = WordLists(words.answers[::4], words.guesses)
    rng = np.random.default_rng(1)
    secrets = rng.integers(len(words.answers), size=20)
    batch = GameBatch.start(words, rule, 20)
    patterns = [{} for _ in range(20)]
    for turn in range(3):
        choices = rng.integers(len(words.guesses), size=len(batch))
        codes = batch.table[choices, secrets]
        # A guess that was not an allowed word rules nothing out.
        choices[turn], codes[turn] = -1, NO_PATTERN
        batch.add_turn(choices, codes)
        for game, secret in enumerate(secrets):
            if game != turn:
                guess = words.guesses[choices[game]]
                patterns[game][guess] = feedback(words.answers[secret], guess, rule)
        if turn == 1:
            is_kept = rng.random(20) < 0.5
            batch, secrets = batch.select(is_kept), secrets[is_kept]
            assert batch.rows.tolist() == np.flatnonzero(is_kept).tolist()
            patterns = [seen for seen, kept in zip(patterns, is_kept, strict=True) if kept]
        expected = [
            [a for a in words.answers if all(feedback(a, g, rule) == p for g, p in seen.items())]
            for seen in patterns
        ]
        assert batch.candidates.counts.tolist() == [len(answers) for answers in expected]
        found = [words.answers[index] for index in batch.candidates.answers]
        assert found == [answer for answers in expected for answer in answers]


def test_every_candidate_is_drawn_equally_often(words):
    batch = GameBatch.start(words, "official", 20_000)
    batch.add_turn(np.full(20_000, 100), np.full(20_000, batch.table[100, 5]))
    counts = np.bincount(batch.candidates.choose(np.random.default_rng(0)), minlength=446)
    candidates = batch.candidates.answers[: batch.candidates.counts[0]]
    assert set(np.flatnonzero(counts)) == set(candidates)
    expected = 20_000 / len(candidates)
    assert (np.abs(counts[candidates] - expected) < 5 * expected**0.5).all()


@pytest.mark.parametrize("rule", ["official", "simplified"])
def test_a_batch_after_a_history_has_its_candidates(games, words, rule):
    secrets, guesses = games.secrets[:50], games.guesses[:50, :2]
    patterns = feedback_codes(secrets[:, None], guesses, rule)
    batch = GameBatch.after(words, rule, guesses, patterns)
    assert (words.guess_letters[batch.guesses[:, :2]] == guesses).all() and batch.turn == 2
    candidates = np.split(batch.candidates.answers, batch.candidates.starts[1:])
    for secret, words_so_far, indices in zip(words_of(secrets), guesses, candidates, strict=True):
        expected = [
            answer
            for answer in words.answers
            if all(feedback(answer, g, rule) == feedback(secret, g, rule) for g in words_of(words_so_far))
        ]
        assert [words.answers[index] for index in indices] == expected
