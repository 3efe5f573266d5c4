"""A GIF of an episode: the game, and next to it the predicted distribution of the chosen action."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cli.files import atomic_write
from data.atari.episodes import Episode
from data.atari.games import Game, single_game
from eval.atari.agent import Agent
from eval.atari.playing import FrameHistory


MAX_STEPS = 1_000  # of a film: about a minute
MILLISECONDS = 70  # per step: an ALE game takes four frames of a sixtieth of a second
HEIGHT, PANEL_WIDTH, MARGIN = 210, 200, 12
PREDICTED_AT_ONCE = 64
INK, BAR, MEAN = (30, 30, 30), (76, 114, 176), (221, 132, 82)


def draw_film(path: str | Path, agent: Agent, game: Game, episode: Episode) -> int:
    """Play an episode again and write up to MAX_STEPS of its steps as a GIF; return their number."""
    emulator = single_game(game)
    history = FrameHistory(1, agent.stack, emulator.frame_shape)
    frame = emulator.reset(episode.seed)
    pictures, observations, returns = [], [], [0.0]
    actions = episode.actions[:MAX_STEPS]
    for step, action in enumerate(actions.tolist()):
        history.add(frame[None], np.array([step == 0]))
        observations.append(history.observations())
        pictures.append(_enlarge(emulator.picture()))
        frame, reward, _ = emulator.step(action)
        returns.append(returns[-1] + reward)
    stacks = torch.from_numpy(np.concatenate(observations))
    logits = torch.cat([agent.predict(game, part).logits.float() for part in stacks.split(PREDICTED_AT_ONCE)])
    chosen = logits[torch.arange(len(actions)), torch.from_numpy(actions.astype(np.int64))].cpu()
    loss = agent.model.value_loss
    values = loss.value(chosen).numpy()
    probs = chosen.softmax(-1).numpy() if loss.num_outputs > 1 else np.zeros((len(actions), 0))
    # Without a distribution, the axis spans the predicted values.
    ends = (loss.value_min, loss.value_max) if loss.num_outputs > 1 else (values.min(), values.max() + 1e-6)
    names = [emulator.action_names[action] for action in actions]
    images = [
        _add_panel(picture, *panel, ends)
        for picture, *panel in zip(pictures, probs, values, names, returns[:-1], strict=True)
    ]
    with atomic_write(path) as unfinished:
        images[0].save(unfinished, save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0)
    return len(actions)


def _enlarge(picture: np.ndarray) -> Image.Image:
    """Return a picture of the height HEIGHT, with sharp pixels."""
    image = Image.fromarray(picture)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.NEAREST)


def _add_panel(
    picture: Image.Image,
    probs: np.ndarray,
    value: float,
    action: str,
    total: float,
    ends: tuple[float, float],
) -> Image.Image:
    """Return a picture with a panel: action, predicted return, its distribution, and the return so far."""
    image = Image.new("RGB", (picture.width + PANEL_WIDTH, HEIGHT), "white")
    image.paste(picture)
    draw = ImageDraw.Draw(image)
    left, right = picture.width + MARGIN, image.width - MARGIN
    top, bottom = 5 * MARGIN, HEIGHT - 4 * MARGIN
    draw.text((left, MARGIN), f"{action}\npredicted return {value:.2f}", INK)
    edges = np.linspace(left, right, len(probs) + 1)
    heights = probs / max(probs.max(initial=0), 1e-9) * (bottom - top)
    for start, end, height in zip(edges, edges[1:], heights, strict=False):
        draw.rectangle((start, bottom - height, end - 1, bottom), BAR)
    draw.line((left, bottom, right, bottom), INK)
    low, high = ends
    place = left + (np.clip(value, low, high) - low) / (high - low) * (right - left)
    draw.line((place, top, place, bottom), MEAN)
    draw.text((left, bottom + 2), f"{low:.3g}", INK)
    draw.text((right, bottom + 2), f"{high:.3g}", INK, anchor="ra")
    draw.text((left, HEIGHT - 2 * MARGIN), f"score {total:g}", INK)
    return image
