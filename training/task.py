"""The task protocol: what differs between domains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from configs.schema import Config
from training.results import Result


@dataclass(frozen=True)
class CardFacts:
    """Facts about a model for the template training/model_card.md; texts are Markdown."""

    task: str  # as the hub shows it next to results: Wordle
    description: str  # what the model predicts, in whole sentences
    training: str  # completes "It was trained": on games of other players by Q-learning
    papers: tuple[str, ...]  # links to sources besides Stop Regressing
    network: str  # completes "9M parameters, ": `prefix` attention
    example: str  # Python that loads the model and prints values
    example_notes: str  # the meaning of these values, and more examples
    commands: tuple[str, ...]  # commands of this repository that take the model
    results_notes: str  # how to read the table of results
    batch_unit: str  # what a batch counts: boards, games
    data: str  # a sentence about the training data, or nothing
    limits: tuple[str, ...]  # whole sentences


class Task(Protocol):
    """Everything that differs between domains."""

    unit: str  # what rates count: action-values
    # The metrics in the line of an evaluation: key, name, and the key of a number to compare with or None.
    evaluation_columns: Sequence[tuple[str, str, str | None]]
    panels: Sequence[tuple[str, str, str | None]]  # the same of the plots: key, title, key to compare with

    @staticmethod
    def card_facts(config: Config, model_folder: Path, name: str, load: str) -> CardFacts:
        """Return facts about a saved model: `name` is its --model, `load` from_pretrained's arguments."""

    @staticmethod
    def results_of_run(row: dict, config: Config, model_folder: Path) -> list[Result]:
        """Return the results in an evaluation row of metrics.jsonl."""

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of an evaluation, none if it is of another kind.

        Raises KeyError, TypeError or AttributeError if numbers are missing.
        """
