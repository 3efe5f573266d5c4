"""Online experience: interrupted anywhere and resumed, the play and the samples are the same bit for bit."""

import hashlib
import json
import zlib

import numpy as np
import pytest
import torch

from cli.errors import InputError
from data.atari.collector import Collector
from data.atari.episodes import emulate
from data.atari.games import make_game, single_game
from data.atari.recordings import read_recording, write_recording
from data.replay import Sampling


# The ring holds 60 steps of each environment; episodes end by themselves and by the limit.
NUM_ENVIRONMENTS, MEMORY_STEPS = 3, 180
GAMES = {
    "minatar_breakout": make_game("minatar_breakout", max_steps=25),
    "minatar_seaquest": make_game("minatar_seaquest", max_steps=90),
    "breakout": make_game("breakout", frame_size=42, max_steps=70),
}


def make_collector(name: str, **settings) -> Collector:
    sampling = Sampling(stack=2, n_step=3, discount=0.9)
    return Collector(GAMES[name], NUM_ENVIRONMENTS, MEMORY_STEPS, sampling, seed=5, **settings)


def play(collector: Collector, num_steps: int) -> list[str]:
    """Act by a function of the observations; return everything that happens as text."""

    def choose(observations: torch.Tensor) -> torch.Tensor:
        return observations.long().sum((1, 2, 3)) % collector.num_actions

    lines = []
    for _ in range(num_steps):
        finished = collector.step(choose, epsilon=0.3)
        lines += [f"{episode.seed} {episode.to_json()}" for episode in finished]
        if collector.memory.num_added > 10:
            batch = collector.memory.sample(collector.memory.num_added, 8)
            sums = {
                name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in batch.items()
            }
            lines.append(str(sums))
    return lines


@pytest.mark.parametrize(
    ("name", "num_steps", "interruptions"),
    [
        ("minatar_breakout", 160, (1, 40, 151)),
        ("minatar_seaquest", 160, (1, 40, 151)),
        pytest.param("breakout", 80, (75,), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_continues_bit_for_bit(name, num_steps, interruptions):
    whole = make_collector(name)
    lines = play(whole, num_steps)
    for interrupted_at in interruptions:
        collector = make_collector(name)
        play(collector, interrupted_at)
        state = json.loads(json.dumps(collector.state_dict()))
        resumed = make_collector(name)
        resumed.load_state_dict(state)
        rest = play(resumed, num_steps - interrupted_at)
        assert rest == lines[len(lines) - len(rest) :]
        assert torch.equal(resumed.memory.frames, whole.memory.frames)
        for array in ("actions", "rewards", "ends", "ages"):
            assert np.array_equal(getattr(resumed.memory, array), getattr(whole.memory, array))
        assert resumed.state_dict() == whole.state_dict()


def test_epsilon_1_acts_at_random_without_asking_and_0_never():
    collector = make_collector("minatar_breakout")
    collector.step(None, epsilon=1.0)
    collector.step(lambda observations: np.full(NUM_ENVIRONMENTS, 2), epsilon=0.0)
    assert collector.memory.actions.reshape(NUM_ENVIRONMENTS, -1)[:, 1].tolist() == [2, 2, 2]


def test_a_checkpoint_of_another_version_of_the_emulator_is_refused():
    collector = make_collector("minatar_breakout")
    play(collector, 3)
    state = collector.state_dict() | {"emulator": "MinAtar 1.0.11"}
    with pytest.raises(InputError, match=r"made with MinAtar 1.0.11, .* pip install MinAtar==1.0.11"):
        make_collector("minatar_breakout").load_state_dict(state)


def test_an_episode_has_the_crc_of_all_its_frames():
    collector = make_collector("minatar_breakout")
    finished = [episode for _ in range(40) for episode in collector.step(None, epsilon=1.0)]
    game = single_game(GAMES["minatar_breakout"])
    assert len(finished) >= 3
    for episode in finished[:3]:
        frames = [game.reset(episode.seed), *(game.step(action)[0] for action in episode.actions)]
        assert episode.crc == zlib.crc32(np.stack(frames).astype(np.uint8).tobytes())


def test_a_checkpoint_whose_frames_are_not_reproduced_is_refused():
    collector = make_collector("minatar_breakout")
    play(collector, 40)
    state = collector.state_dict()
    seed, actions, total, end, crc = state["kept"][1][0][1]
    state["kept"][1][0][1] = [seed, actions, total, end, crc ^ 1]
    with pytest.raises(
        InputError, match=rf"the checkpoint: .* does not reproduce episode .* \(seed {seed}\)"
    ):
        make_collector("minatar_breakout").load_state_dict(state)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_steps"), [("minatar_breakout", 150), ("breakout", 75)])
def test_emulation_does_not_depend_on_environments_and_processes(name, num_steps, tmp_path):
    record = tmp_path / "recording.parquet"
    collector = make_collector(name, record=record)
    play(collector, num_steps)
    collector.save_recording()
    episodes = read_recording(record).episodes
    assert len(episodes) >= 3
    found = []
    for settings in ({"num_environments": 1}, {"num_environments": 5}, {"num_processes": 2}):
        parts = list(emulate(GAMES[name], episodes, "recording", **settings))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.lexsort((columns[1], columns[0]))
        found.append([column[order] for column in columns])
    for other in found[1:]:
        assert all(np.array_equal(*pair) for pair in zip(found[0], other, strict=True))
    rewards = found[0][4]
    assert np.bincount(found[0][0], rewards).tolist() == [episode.total_reward for episode in episodes]


def test_a_recording_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path):
    paths = [tmp_path / name for name in ("whole.parquet", "resumed.parquet")]
    whole = make_collector("minatar_breakout", record=paths[0])
    play(whole, 120)
    whole.save_recording()
    collector = make_collector("minatar_breakout", record=paths[1])
    play(collector, 50)
    state = collector.state_dict()
    play(collector, 30)
    collector.save_recording()  # later episodes, which the resumed run plays again
    resumed = make_collector("minatar_breakout", record=paths[1])
    resumed.load_state_dict(state)
    play(resumed, 70)
    resumed.save_recording()
    first, second = (read_recording(path) for path in paths)
    assert [episode.to_json() for episode in first.episodes] == [
        episode.to_json() for episode in second.episodes
    ]
    write_recording(paths[1], GAMES["breakout"], first.episodes)
    with pytest.raises(InputError, match=r"is a recording of breakout .*, not of this run"):
        make_collector("minatar_breakout", record=paths[1]).load_state_dict(state)
    paths[1].unlink()
    with pytest.raises(InputError, match="no such file"):
        make_collector("minatar_breakout", record=paths[1]).load_state_dict(state)
