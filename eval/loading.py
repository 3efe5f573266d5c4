"""Load a trained model of any domain, with its tokenizer, from a folder or from the hub."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from cli.errors import InputError, first_line
from eval.model_folder import MODEL_AND_GAMES, MODEL_AND_TOKENIZER, local_folder, model_digest, model_name
from models.modeling_q_transformer import QTransformer
from models.modeling_value_convnet import ValueConvNet
from models.modeling_value_transformer import (
    ValueTransformerForActionValue,
    ValueTransformerForMovePrediction,
    ValueTransformerForStateValue,
    ValueTransformerForTokenValue,
)
from models.tokenization_chess import ChessTokenizer
from models.tokenization_wordle import GAME_LENGTH, TOKENS


def _check_wordle_settings(name: str | Path, config: dict[str, Any]) -> None:
    vocabulary, length = config.get("vocab_size"), config.get("max_position_embeddings")
    if vocabulary != len(TOKENS) or not isinstance(length, int) or length < GAME_LENGTH:
        raise InputError(
            f"{name} reads {length} tokens of a vocabulary of {vocabulary}; a game of Wordle takes "
            f"{GAME_LENGTH} of {len(TOKENS)}: give another"
        )


class Kind(NamedTuple):
    """The models of a domain: their classes, as named by `architectures` in config.json."""

    purpose: str
    classes: tuple[type[PreTrainedModel], ...]
    tokenizer_class: type[PreTrainedTokenizerBase] | None = None
    check_settings: Callable[[str | Path, dict[str, Any]], None] | None = None
    files: dict[str, str] = MODEL_AND_TOKENIZER


# A new domain adds its kind of models.
CHESS = Kind(
    "plays chess",
    (ValueTransformerForActionValue, ValueTransformerForStateValue, ValueTransformerForMovePrediction),
    ChessTokenizer,
)
WORDLE = Kind(
    "values the tokens of Wordle", (ValueTransformerForTokenValue,), check_settings=_check_wordle_settings
)
ATARI = Kind("plays Atari", (ValueConvNet,), files=MODEL_AND_GAMES)
ROBOT = Kind("values the actions of a robot", (QTransformer,), PreTrainedTokenizerFast)


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of a name such as cpu, cuda or cuda:1; auto is the GPU if there is one.

    Raises InputError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {name!r} cannot be used: {first_line(error)}; try cpu") from None
    return device


def load_model(
    name: str | Path, device: str | torch.device = "auto", dtype: str = "float32", kind: Kind = CHESS
) -> tuple[Any, Any]:
    """Load the model in a folder, or with this id on the hub, in evaluation mode, and its tokenizer.

    The tokenizer is None where the kind has no class for it. Raises InputError if there is no such model, if
    it is incomplete, or if it is of another kind.
    """
    device = choose_device(device)
    folder = local_folder(name, kind.files)
    model_class, config = _check_is_model(name, folder, kind)
    if kind.check_settings is not None:
        kind.check_settings(name, config)
    verbosity = logging.get_verbosity()
    # transformers reports missing weights as a table; the error below names them in one line.
    logging.set_verbosity_error()
    try:
        with without_progress_bars():
            # Mismatched sizes are refused below, where the message can name them.
            model, info = model_class.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
            )
        tokenizer = kind.tokenizer_class.from_pretrained(folder) if kind.tokenizer_class else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name} cannot be loaded: {first_line(error)}; save it again") from error
    finally:
        logging.set_verbosity(verbosity)
    # transformers initialises weights that it cannot load at random, with no more than a warning.
    if absent := sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]):
        raise InputError(
            f"{name}: {len(absent)} weights are missing or of other sizes than config.json says, "
            f"such as {absent[0]}; save it again"
        )
    return model.to(device).eval(), tokenizer


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hide the progress bars of transformers for local files: each would leave a line on the terminal."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _check_is_model(
    name: str | Path, folder: Path, kind: Kind
) -> tuple[type[PreTrainedModel], dict[str, Any]]:
    """Return class and configuration of the model in a folder. Raises InputError if it is of another kind."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be loaded: {first_line(error)}; save it again") from error
    architectures = config.get("architectures")
    for model_class in kind.classes:
        if architectures == [model_class.__name__]:
            return model_class, config
    held = architectures[0] if architectures and isinstance(architectures, list) else "no known model"
    names = ", ".join(model_class.__name__ for model_class in kind.classes)
    raise InputError(f"{name} holds {held}, not a model that {kind.purpose} ({names}): give another")


def identify_model(name: str | Path, kind: Kind = CHESS) -> str:
    """Return a model's name with the digest of its files, such as chess_tiny#1a2b3c4d.

    The digest is the same in a folder and on the hub. Raises InputError for a model of another kind.
    """
    folder = local_folder(name, kind.files)
    _check_is_model(name, folder, kind)
    return f"{model_name(name)}#{model_digest(folder)}"
