"""The batches of online learning: the agent acts until a training step is due, and a sample is drawn."""

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor
from tqdm import tqdm

from configs.atari import AtariPlayConfig
from data.atari.collector import Collector


class OnlineBatches:
    """The counterpart of TrainingSet (data/training_set.py) for an agent that plays its own training data.

    `choose_actions` gets observations and returns the actions of the network being trained. Training step k
    follows step `first_training_step` + (k − 1) × `update_every` of the environments. The order is: store the
    environment step, train the network, copy the target network, choose the next actions.
    """

    def __init__(
        self,
        collector: Collector,
        choose_actions: Callable[[Tensor], np.ndarray],
        play: AtariPlayConfig,
        batch_size: int,
        num_micro_batches: int,
    ):
        self.collector, self.choose_actions, self.play = collector, choose_actions, play
        self.batch_size, self.num_micro_batches = batch_size, num_micro_batches

    def iterate(self, first_step: int, last_step: int) -> Iterator[tuple[int, tuple]]:
        """Yield each step after `first_step` up to `last_step` with its batch, when it is due."""
        if self.collector.num_steps < (start := self.play.first_training_step):
            with tqdm(total=start, desc="random play", unit=" steps", unit_scale=True, disable=None) as bar:
                while self.collector.num_steps < start:
                    self._act()
                    bar.update(self.collector.num_steps - bar.n)
        step = first_step + 1
        while step <= last_step:
            due = self.play.first_training_step + (step - 1) * self.play.update_every
            while self.collector.num_steps < due:
                self._act()
            # All steps that are due now are sampled together, which costs little more than one.
            num_due = 1 + (self.collector.num_steps - due) // self.play.update_every
            num_due = min(num_due, last_step + 1 - step)
            samples = self.collector.memory.sample(step, self.batch_size, num_due)
            size = self.batch_size // self.num_micro_batches
            parts = zip(*(tensor.split(size) for tensor in samples.values()), strict=True)
            micro_batches = [dict(zip(samples, part, strict=True)) for part in parts]
            for first in range(0, len(micro_batches), self.num_micro_batches):
                yield step, (micro_batches[first : first + self.num_micro_batches], self.batch_size)
                step += 1

    def _act(self) -> None:
        self.collector.step(self.choose_actions, self.epsilon_at(self.collector.num_steps))

    def epsilon_at(self, step: int) -> float:
        """Return the fraction of random actions: 1 before training, and then falling to `epsilon`."""
        progress = (step - self.play.first_training_step) / self.play.epsilon_decay_steps
        return 1 - (1 - self.play.epsilon) * min(max(progress, 0), 1)

    def state_dict(self) -> dict:
        return self.collector.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.collector.load_state_dict(state)
