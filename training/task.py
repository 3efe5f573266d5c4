"""The task protocol: everything that differs between domains."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from configs.schema import Config
from data.training_set import Examples, TrainingSet
from training.card_facts import CardFacts, Result
from training.sharding import Weights


# The micro-batches of one process in one step, and the number of values of all processes.
StepBatches = tuple[list[dict[str, Tensor]], int]
Column = tuple[str, str, str | None]  # key, title, and the key of a number to compare with


class CheckpointTensors(Protocol):
    """Tensors that checkpoints hold in addition to the model, such as an EMA or a target network."""

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield full tensors by name. All processes have to iterate together."""

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Continue from the full tensors that `read` returns by name."""


class Batches(Protocol):
    """A source of batches: TrainingSet, or OnlineBatches of an agent that plays."""

    def iterate(self, first_step: int, last_step: int) -> Iterator[tuple[int, StepBatches]]:
        """Yield each step after `first_step` up to `last_step` with its batches."""

    def state_dict(self) -> dict:
        """Return the state for checkpoints: JSON."""

    def load_state_dict(self, state: dict) -> None:
        """Continue from such a state, or check that the data is the same."""


class Task(Protocol):
    """A domain: its model, data, loss and evaluation.

    train.py calls, in this order, the constructor, which makes the `model`, and `load_data` before processes
    join; `start` after they have joined; then for every step `batches`, `loss` for each micro-batch, and
    `after_step`; `evaluate` between steps, and `save` at the end.
    """

    unit: str  # of training rates: action-values

    @property
    def model(self) -> PreTrainedModel:
        """The model; its backbone lists repeated `blocks`, for compilation and for Muon."""

    @property
    def metrics(self) -> Sequence[str]:
        """The names of the metrics of a training step; out_of_support is one of them."""

    @property
    def evaluation_columns(self) -> Sequence[Column]:
        """The columns in the log line of an evaluation."""

    @property
    def panels(self) -> Sequence[Column]:
        """The panels of the plotted curves."""

    @property
    def can_evaluate(self) -> bool:
        """Whether there is anything to evaluate on."""

    def __init__(self, config: Any) -> None:
        """Make the model; raise ValueError for incompatible settings."""

    def load_data(self) -> None:
        """Read the training data; at first, fetch and prepare it, by one of several processes."""

    def describe_model(self) -> str:
        """Return the facts about the model to print."""

    def describe_data(self) -> str:
        """Return the facts about the data to print."""

    def warnings(self) -> list[str]:
        """Return warnings to print before training."""

    def start(self, accelerator: Accelerator) -> dict[str, CheckpointTensors]:
        """Prepare for training on this process; return the tensors of checkpoints besides the model.

        The model has its weights, from the checkpoint if there is one, and is not wrapped yet.
        """

    def state_dict(self) -> dict:
        """Return the state for checkpoints that is not in tensors: JSON."""

    def load_state_dict(self, state: dict) -> None:
        """Continue from such a state; raise InputError if the data is not the data of the checkpoint."""

    def batches(self, first_step: int, last_step: int) -> Iterator[tuple[int, StepBatches]]:
        """Yield the steps after `first_step` up to `last_step`, each with its batches."""

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its values, and the means of `metrics`."""

    def after_step(self, step: int, weights: Weights) -> None:
        """Act on the weights after training step 1, 2, …"""

    def evaluate(self) -> dict:
        """Evaluate the model; return numbers by name."""

    def save(self, folder: Path) -> None:
        """Write the files of a model folder besides weights, configuration and code."""

    @staticmethod
    def card_facts(config: Any, model_folder: Path, name: str, load: str) -> CardFacts:
        """Return facts about a saved model: `name` is its --model, `load` from_pretrained's arguments."""

    @staticmethod
    def results_of_run(row: dict, config: Any, model_folder: Path) -> list[Result]:
        """Return the results in an evaluation row of metrics.jsonl."""

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of an evaluation, none if it is of another kind.

        Raises KeyError, TypeError or AttributeError if numbers are missing.
        """


class OfflineTask:
    """The part that tasks on a fixed dataset share: batches are a pure function of seed and step."""

    config: Config
    examples: Examples
    device: torch.device

    def start(self, accelerator: Accelerator) -> dict[str, CheckpointTensors]:
        self.device = accelerator.device
        self.training_set = self.make_training_set(accelerator)
        return {}

    def make_training_set(self, accelerator: Accelerator) -> Batches:
        """Return the source of this process's batches."""
        return TrainingSet(
            self.examples,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            num_processes=accelerator.num_processes,
            process_index=accelerator.process_index,
            num_micro_batches=self.config.training.gradient_accumulation_steps,
        )

    def state_dict(self) -> dict:
        return self.training_set.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.training_set.load_state_dict(state)

    def batches(self, first_step: int, last_step: int) -> Iterator[tuple[int, StepBatches]]:
        return self.training_set.iterate(first_step, last_step)

    def after_step(self, step: int, weights: Weights) -> None:
        pass
