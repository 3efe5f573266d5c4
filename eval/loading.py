"""Load a trained model, of chess with its tokenizer or of Wordle, from a folder or from the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file, logging

from cli.errors import InputError, first_line
from cli.files import digest
from eval.model_folder import check_model_folder
from models.modeling_value_transformer import ValueTransformerForActionValue, ValueTransformerForTokenValue
from models.tokenization_chess import ChessTokenizer
from models.tokenization_wordle import GAME_LENGTH, TOKENS


PURPOSES = {
    ValueTransformerForActionValue: "values chess moves",
    ValueTransformerForTokenValue: "values the tokens of Wordle",
}


def choose_device(name: str | torch.device) -> torch.device:
    """Turn cpu, cuda, cuda:1, ... or auto, the GPU if there is one, into a device.

    Raises InputError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch's own message goes on for many lines.
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; try cpu") from None
    return device


def load_model(
    name: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> tuple[ValueTransformerForActionValue, ChessTokenizer]:
    """Load the chess model in a folder, or with this id on the hub, in evaluation mode, and its tokenizer.

    Raises InputError if there is no such model, if it is incomplete, or if it is not one that values chess
    moves.
    """
    device = choose_device(device)
    _check_is_model(name, ValueTransformerForActionValue)
    with _loading(name):
        model = _load(name, ValueTransformerForActionValue, dtype)
        tokenizer = ChessTokenizer.from_pretrained(name)
    return model.to(device).eval(), tokenizer


def load_wordle_model(
    name: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> ValueTransformerForTokenValue:
    """Load the Wordle model in a folder, or with this id on the hub, in evaluation mode.

    Raises InputError if there is no such model, if it is incomplete, or if it is not one that values the
    tokens of Wordle.
    """
    device = choose_device(device)
    config = _check_is_model(name, ValueTransformerForTokenValue)
    vocabulary, length = config.get("vocab_size"), config.get("max_position_embeddings")
    if vocabulary != len(TOKENS) or not isinstance(length, int) or length < GAME_LENGTH:
        raise InputError(
            f"{name} reads {length} tokens of a vocabulary of {vocabulary}; a game of Wordle takes "
            f"{GAME_LENGTH} of {len(TOKENS)}: give another"
        )
    with _loading(name):
        model = _load(name, ValueTransformerForTokenValue, dtype)
    return model.to(device).eval()


@contextmanager
def _loading(name: str | Path) -> Iterator[None]:
    """Turn the errors of loading into InputError, and leave transformers' own messages out."""
    if Path(name).is_dir():
        # A bar is of use for a download, and a nuisance above the output of every command.
        logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    # Its report of weights that are missing is a table; they are named in one line.
    logging.set_verbosity_error()
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name} cannot be loaded: {first_line(error)}; save it again") from error
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def _load(name: str | Path, model_class: type[PreTrainedModel], dtype: str | torch.dtype) -> PreTrainedModel:
    # Mismatched sizes are refused here, where the message can name them.
    model, info = model_class.from_pretrained(
        name, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
    )
    # transformers fills weights that it cannot load with random numbers and only warns.
    absent = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
    if absent:
        raise InputError(
            f"{name}: {len(absent)} weights are missing or of other sizes than config.json says, "
            f"such as {absent[0]}; save it again"
        )
    return model


def identify_model(
    name: str | Path, model_class: type[PreTrainedModel] = ValueTransformerForActionValue
) -> str:
    """Return a model's name with what changes whenever its files do, such as runs/chess_tiny/model#1a2b3c4d.

    That is its `model_digest`, the same in a folder and on the hub. Raises InputError if it is not a model of
    `model_class`.
    """
    _check_is_model(name, model_class)
    folder = Path(name)
    if not folder.is_dir():
        with _loading(name):
            files = ["*.json", "*.safetensors"]
            folder = Path(snapshot_download(name, allow_patterns=files, tqdm_class=_TerminalBar))
    return f"{name}#{model_digest(folder)}"


class _TerminalBar(tqdm):
    """A progress bar that only a terminal shows."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "disable": options.get("disable") or None})


def model_digest(folder: Path) -> str:
    """Return eight digits that tell what is in a folder, configuration and weights, from other models."""
    return digest([*folder.glob("*.json"), *folder.glob("*.safetensors")])[:8]


def check_finite(values: np.ndarray) -> None:
    """Raise InputError if any predicted value is not finite, since argmax would take a NaN for the best."""
    if not np.isfinite(values).all():
        raise InputError(
            "the model predicts values that are not finite: its weights are damaged, or training diverged"
        )


def _check_is_model(name: str | Path, model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """Return a model's configuration; raise InputError unless its files are there and name that class."""
    check_model_folder(name)
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
        cached_file(name, "tokenizer_config.json")
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise InputError(f"{name} cannot be loaded: {first_line(error)}; save it again") from error
        what = "is neither a folder nor a model that the hub gives"
        raise InputError(f"{name} {what}: {first_line(error)}; check the name and the network") from error
    architectures = config.get("architectures")
    if architectures != [model_class.__name__]:
        held = architectures[0] if architectures and isinstance(architectures, list) else "nothing known"
        raise InputError(
            f"{name} holds {held}, not a model that {PURPOSES[model_class]} "
            f"({model_class.__name__}): give another"
        )
    return config
