"""Speed of Atari: environments, replay memory, episodes emulated again, and steps of online learning."""

from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.benchmark import timer

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from configs.atari import AtariConfig
from configs.loading import load_config
from data.atari.collector import Collector
from data.atari.episodes import emulate
from data.atari.games import Game, VectorEnvironment, make_environments, make_game, single_game
from data.replay import ReplayMemory, Sampling
from models.modeling_value_convnet import ValueConvNet
from train import train


GAMES = ("breakout", "minatar_breakout")
# Configurations of online learning: the number of steps to measure, and settings. No episode of Pong ends in
# these steps.
LEARNING: dict[str, tuple[int, list[str]]] = {
    "atari_tiny.yaml": (2000, []),
    "atari_dqn.yaml": (
        50,
        ["atari.game=pong", "atari.memory_steps=4000", "atari.first_training_step=1000"],
    ),
}
NUM_ENVIRONMENTS, NUM_STEPS = 8, 200
MEMORY_STEPS, BATCH_SIZE = 20_000, 32


def environments(name: str, settings: Settings) -> Table:
    """Compare steps of many environments with gymnasium's loop over one, with the same settings."""
    game = make_game(name)
    num_steps = 4 if settings.quick else NUM_STEPS
    many = make_environments(game, NUM_ENVIRONMENTS)
    one = single_game(game)
    rng = np.random.default_rng(settings.seed)
    actions = rng.integers(many.num_actions, size=(num_steps, NUM_ENVIRONMENTS))

    def step_many(_: int) -> None:
        many.reset(np.arange(NUM_ENVIRONMENTS))
        for step in actions:
            act(many, step)

    def step_one(_: int) -> None:
        one.reset(0)
        for action in actions[:, 0].tolist():
            if one.step(action)[2]:
                one.reset(0)

    of_one = "one environment" if game.is_minatar else "gymnasium's AtariPreprocessing"
    alternatives = {
        of_one: Alternative(step_one, num_steps),
        f"{NUM_ENVIRONMENTS} environments together": Alternative(step_many, num_steps * NUM_ENVIRONMENTS),
    }
    return compare(f"{name}, random actions", "step", alternatives, range(settings.repeats))


def act(environments: VectorEnvironment, actions: np.ndarray) -> None:
    _, _, terminated, truncated = environments.step(actions)
    if (is_over := terminated | truncated).any():
        environments.reset(np.arange(is_over.sum()), is_over)


def replay(settings: Settings) -> Table:
    """Compare batches of the replay memory with stacks that a plain list of frames makes."""
    num_steps = 200 if settings.quick else MEMORY_STEPS
    sampling = Sampling()
    memory = ReplayMemory(num_steps, 1, (1, 84, 84), sampling, settings.seed)
    rng = np.random.default_rng(settings.seed)
    frames = rng.integers(256, size=(num_steps, 1, 84, 84), dtype=np.uint8)
    ends = (rng.random(num_steps) < 0.01).astype(np.uint8)
    for frame, end in zip(frames, ends, strict=True):
        memory.add(frame[None], np.zeros(1), np.zeros(1), np.array([end]))
    stored = list(zip(frames, ends, strict=True))

    def stack(index: int) -> torch.Tensor:
        stacked = [stored[index][0][0]]
        for earlier in range(index - 1, index - sampling.stack, -1):
            is_earlier = earlier >= 0 and not stored[earlier][1] and len(stacked) == index - earlier
            stacked.insert(0, stored[earlier][0][0] if is_earlier else np.zeros((84, 84), dtype=np.uint8))
        return torch.from_numpy(np.stack(stacked))

    def sample_list(step: int) -> None:
        for lead in (0, 1):
            torch.stack([stack(int(index) + lead) for index in rng.integers(num_steps - 1, size=BATCH_SIZE)])

    alternatives = {
        "list of frames": Alternative(sample_list),
        "replay memory": Alternative(lambda step: memory.sample(step, BATCH_SIZE)),
    }
    return compare(
        f"batches of {BATCH_SIZE} transitions of 84 × 84 × 4",
        "batch",
        alternatives,
        range(10 * settings.repeats),
        warm_up=0,
        milliseconds=True,
    )


def refill(name: str, settings: Settings) -> Table:
    """Measure how fast a memory is filled again from seeds and actions."""
    episode_steps, num_steps = (20, 25) if settings.quick else (100, 10 * NUM_STEPS)
    game: Game = make_game(name, max_steps=episode_steps)
    collector = Collector(game, NUM_ENVIRONMENTS, 2_000, Sampling(), settings.seed, record=Path("unused"))
    for _ in range(num_steps):
        collector.step(lambda observations: np.zeros(NUM_ENVIRONMENTS), epsilon=1.0)
    episodes = collector.recorded
    num_steps = sum(len(episode.actions) for episode in episodes)

    def run(**options: int) -> Alternative:
        def emulate_all(_: int) -> None:
            for _ in emulate(game, episodes, "benchmark", **options):
                pass

        return Alternative(emulate_all, num_steps)

    alternatives = {
        "one episode after the other": run(num_environments=1, num_processes=1),
        "episodes together": run(),
    }
    return compare(f"{name}, emulated again", "step", alternatives, range(settings.repeats))


def learning(settings: Settings) -> Table:
    """Measure the steps of train.py, and the part that is not the network's: its passes and its optimiser."""
    rows = {}
    for name, (num_steps, overrides) in LEARNING.items():
        if settings.quick:
            num_steps, overrides = 4, [*overrides, "atari.first_training_step=600"]
        overrides = [*overrides, f"seed={settings.seed}", f"training.steps={num_steps}", "trackers=[]"]
        config = load_config(name, [*overrides, f"evaluation.every={num_steps}", "evaluation.episodes=1"])
        measured = []
        for _ in range(settings.repeats):
            clock = clock_of(config)
            acting, learning = clock.seconds.values()
            rest = 1 - (acting + learning) / clock.step
            measured.append([1000 * clock.step, 1000 * learning, 1000 * acting, 100 * rest])
        columns = ("step ms", "learning ms", "acting ms", "rest %")
        rows[name] = dict(zip(columns, np.median(measured, axis=0).tolist(), strict=True))
    notes = [
        "Learning is the loss with its passes, the backward pass and the optimiser; acting the passes that "
        "choose actions. The rest is games, replay memory, target network and the loop of train.py."
    ]
    return Table("a step of online learning", rows, notes)


class NetworkClock:
    """Times the passes and the optimiser steps of a run of train.py, by torch's hooks for all modules."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.seconds = {"acting": 0.0, "learning": 0.0}  # of a step, after the first
        self._ends: list[float] = []
        self._started, self._is_learning = 0.0, False

    @property
    def step(self) -> float:
        return (self._ends[-1] - self._ends[0]) / (self.num_steps - 1)

    def before_pass(self, module: torch.nn.Module, _: object) -> None:
        if isinstance(module, ValueConvNet) and not self._is_learning:
            self._started, self._is_learning = timer(), torch.is_grad_enabled()

    def after_pass(self, module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, ValueConvNet) and not self._is_learning:
            self._count("acting")

    def after_optimizer(self, *_: object) -> None:
        self._count("learning")
        self._is_learning = False
        self._ends.append(timer())

    def _count(self, kind: str) -> None:
        if 0 < len(self._ends) < self.num_steps:  # evaluations come before and after
            self.seconds[kind] += (timer() - self._started) / (self.num_steps - 1)


def clock_of(config: AtariConfig) -> NetworkClock:
    """Train, and return the clock of the run."""
    clock = NetworkClock(config.training.steps)
    hooks = [
        register_module_forward_pre_hook(clock.before_pass),
        register_module_forward_hook(clock.after_pass),
        register_optimizer_step_post_hook(clock.after_optimizer),
    ]
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        train(replace(config, output_dir=folder))
    for hook in hooks:
        hook.remove()
    return clock


def measure(settings: Settings) -> Iterator[Table]:
    """Measure environments, replay, emulation, and learning."""
    for name in GAMES:
        yield environments(name, settings)
    yield replay(settings)
    for name in GAMES:
        yield refill(name, settings)
    yield learning(settings)
