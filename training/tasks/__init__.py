"""What can be learnt: the tasks, by their names in a configuration."""

from cli.errors import InputError
from configs.schema import Config
from training.tasks.chess import ChessTask
from training.tasks.wordle import WordleTask


TASKS = {"chess": ChessTask, "wordle": WordleTask}


def make_task(config: Config) -> ChessTask | WordleTask:
    """Make what is learnt, with a new model; raise InputError for settings that do not go together."""
    try:
        task = TASKS[config.task](config)
    except ValueError as error:
        raise InputError(f"these settings do not go together: {error}") from None
    if config.model.activation_checkpointing:
        task.model.activation_checkpointing_enable()
    return task
