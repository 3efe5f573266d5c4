"""A trained model as a policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from cli.errors import InputError
from data.robot.metaworld import ACTION_SIZE, DEFAULT_CAMERA, FPS, STATE_SIZE, Observation
from data.robot.simulator import check_camera
from data.robot.tasks import INSTRUCTIONS
from eval.loading import ROBOT, load_model
from eval.model_folder import local_folder
from eval.predictions import check_finite
from models.tokenization_robot import instruction_ids


if TYPE_CHECKING:
    from models.modeling_q_transformer import ChosenActions, QTransformer


FACTS = "robot.json"


class ModelPolicy:
    """Takes the best bin of each dimension; `chosen` has the values of the last actions, as arrays.

    `camera` and `fps` (decisions per second) are those of the training data, if it names them. Raises
    InputError if the simulator differs.
    """

    def __init__(
        self,
        model: QTransformer,
        tokenizer: PreTrainedTokenizerBase,
        camera: str | None,
        fps: float | None,
    ) -> None:
        config = model.config
        self.model, self.tokenizer = model, tokenizer
        self.image_size: int | None = config.image_size or None
        self.camera = camera or DEFAULT_CAMERA
        self.chosen: ChosenActions | None = None
        if config.num_dimensions != ACTION_SIZE or config.state_size not in (0, STATE_SIZE):
            raise InputError(
                f"the model reads states of {config.state_size} numbers and chooses actions of "
                f"{config.num_dimensions}; the simulator has {STATE_SIZE} and {ACTION_SIZE}"
            )
        if fps != FPS:
            raise InputError(f"the model takes {fps} decisions a second, the simulator {FPS}")
        if self.image_size and camera is None:
            raise InputError("the training data does not name the camera of its images")
        check_camera(self.camera)

    @classmethod
    def load(cls, name: str, device: str, dtype: str) -> Self:
        """Load a model. Raises InputError if there is none, or if the simulator differs from its data."""
        model, tokenizer = load_model(name, device, dtype, ROBOT)
        facts = read_facts(name)
        try:
            return cls(model, tokenizer, facts.get("camera"), facts.get("fps"))
        except InputError as error:
            raise InputError(f"{name}: {error}: it cannot be evaluated here") from None

    def act(self, histories: Sequence[Sequence[Observation]], instructions: Sequence[str]) -> np.ndarray:
        """Return the best actions in some episodes, (n, 4) float32."""
        config, device = self.model.config, self.model.device
        chosen = self.model.choose_actions(
            states=self._stack("state", histories) if config.state_size else None,
            images=self._stack("image", histories) if config.image_size else None,
            input_ids=self._read(instructions).to(device),
        )
        self.chosen = type(chosen)(
            **{key: None if value is None else value.cpu().numpy() for key, value in vars(chosen).items()}
        )
        check_finite(self.chosen.value)
        return self.chosen.actions

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Raise InputError if the model cannot read the instruction of a task."""
        self._read([INSTRUCTIONS[task] for task in tasks])

    def _stack(self, key: str, histories: Sequence[Sequence[Observation]]) -> torch.Tensor:
        """Return the newest observations, (n, history, …); the first one stands in for those before it."""
        length = self.model.config.history
        padded = [[history[0]] * (length - len(history)) + [*history[-length:]] for history in histories]
        arrays = np.stack([[observation[key] for observation in history] for history in padded])
        return torch.from_numpy(arrays).to(self.model.device)

    def _read(self, instructions: Sequence[str]) -> torch.Tensor:
        """Return the tokens of instructions, (n, tokens)."""
        try:
            ids = instruction_ids(self.tokenizer, instructions)
        except ValueError as error:
            raise InputError(str(error)) from None
        length = self.model.config.num_instruction_tokens
        if ids.shape[1] > length:
            raise InputError(
                f"the model reads instructions of up to {length} words: {max(instructions, key=len)}"
            )
        return torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=self.tokenizer.pad_token_id)


def read_facts(name: str) -> dict:
    """Read what is known of a model's training data. Raises InputError if the model has no such file."""
    path = Path(local_folder(name)) / FACTS
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): give the folder `model` that train.py wrote"
        ) from None
    if not isinstance(facts, dict):
        raise InputError(f"{path} holds no JSON object: give the folder `model` that train.py wrote")
    return facts
