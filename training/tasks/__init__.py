"""The tasks, by their names in a configuration."""

from cli.errors import InputError
from configs.schema import Config
from training.task import Task
from training.tasks.atari import AtariTask
from training.tasks.chess import ChessTask
from training.tasks.robot import RobotTask
from training.tasks.wordle import WordleTask


TASKS: dict[str, type[Task]] = {
    "chess": ChessTask,
    "wordle": WordleTask,
    "atari": AtariTask,
    "robot": RobotTask,
}


def make_task(config: Config) -> Task:
    """Make the task of a configuration, with a new model; raise InputError for incompatible settings."""
    try:
        task = TASKS[config.task](config)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"incompatible settings: {error}") from None
    if config.model.activation_checkpointing:
        task.model.activation_checkpointing_enable()
    return task
