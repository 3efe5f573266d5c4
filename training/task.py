"""The task protocol: what differs between domains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from configs.schema import Config
from training.card_facts import CardFacts, Result


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
