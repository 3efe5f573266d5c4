"""A trained model as a player of the games that it was trained on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cli.errors import InputError
from data.atari.games import Game, make_game
from eval.loading import ATARI, identify_model, load_model
from eval.model_folder import MODEL_AND_GAMES, local_folder
from eval.predictions import check_finite
from models.modeling_value_convnet import ConvNetOutput, ValueConvNet


SETTINGS_FILE = "atari.json"  # of a model folder: the games, and the number of frames in an observation


def write_settings(folder: Path, games: list[Game], stack: int) -> None:
    """Write the settings that evaluation needs to a model folder."""
    settings = {"games": [{"name": game.name, **game.settings()} for game in games], "stack": stack}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")


@dataclass
class Agent:
    """A model, its name, its games and the number of frames in an observation."""

    model: ValueConvNet
    name: str
    games: list[Game]
    stack: int

    @classmethod
    def load(cls, name: str, device: str, dtype: str) -> "Agent":
        """Load a model from a folder or from the hub; raise InputError if it does not play Atari."""
        path = local_folder(name, MODEL_AND_GAMES) / SETTINGS_FILE
        model, _ = load_model(name, device, dtype, ATARI)
        try:
            settings = json.loads(path.read_bytes())
            games = [make_game(**game) for game in settings["games"]]
            stack = int(settings["stack"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} holds no settings of games ({error!r}): save the model again") from None
        return cls(model, identify_model(name, ATARI), games, stack)

    def find_games(self, names: list[str] | None) -> list[Game]:
        """Return the games with these names, by default all; raise InputError for others."""
        if names is None:
            return self.games
        for name in names:
            if all(game.name != name for game in self.games):
                known = ", ".join(dict.fromkeys(game.name for game in self.games))
                raise InputError(f"{self.name} was not trained on {name}: choose from {known}")
        return [game for name in dict.fromkeys(names) for game in self.games if game.name == name]

    @torch.no_grad()
    def predict(self, game: Game, observations: Tensor) -> ConvNetOutput:
        """Return the model's prediction for observations (batch, channels, height, width) of a game."""
        device = self.model.device
        indices = torch.full((len(observations),), self.games.index(game), device=device)
        return self.model(observations.to(device), game=indices)

    def choose(self, game: Game, observations: Tensor) -> np.ndarray:
        """Return the actions of highest value, (batch,)."""
        values = self.predict(game, observations).value
        actions = values.argmax(-1)
        check_finite(values.gather(-1, actions[:, None]).float().cpu().numpy())
        return actions.cpu().numpy()
