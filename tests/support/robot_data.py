"""Small robot datasets with random numbers, which need no simulator."""

from pathlib import Path

import numpy as np
from transformers import BertConfig, BertModel

from data.robot.lerobot_writer import DatasetWriter, Episode, encode_png
from data.robot.tasks import INSTRUCTIONS
from models.tokenization_robot import make_instruction_tokenizer


LENGTHS = (4, 2, 5)  # frames of the episodes; the last one fails


def random_episodes(task: str, image_size: int | None = None, state_size: int = 39) -> list[Episode]:
    """Return episodes of random states, actions and images."""
    rng = np.random.default_rng(0)
    return [
        Episode(
            task=task,
            noise=0.5,
            success=number < len(LENGTHS) - 1,
            states=rng.normal(size=(length, state_size)).astype(np.float32),
            actions=rng.uniform(-1, 1, (length, 4)).astype(np.float32),
            images=image_size
            and [encode_png(image) for image in random_images(length, image_size, seed=number)],
        )
        for number, length in enumerate(LENGTHS)
    ]


def random_images(num_images: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(num_images, size, size, 3), dtype=np.uint8)


def write_robot_data(
    folder: Path,
    tasks: tuple[str, ...] = ("drawer-open-v3",),
    image_size: int | None = None,
    state_size: int = 39,
) -> Path:
    """Write a dataset of three episodes of each task; return its folder."""
    folder.mkdir(parents=True)
    instructions = {task: INSTRUCTIONS[task] for task in tasks}
    camera = "behindGripper" if image_size else None
    episodes = [episode for task in tasks for episode in random_episodes(task, image_size, state_size)]
    DatasetWriter(folder, instructions, 27, camera).write(episodes)
    return folder


def write_sentence_encoder(folder: Path) -> BertModel:
    """Write a random encoder of instructions and its tokenizer to a folder; return the encoder."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    encoder = BertModel(BertConfig(vocab_size=200, **sizes))
    encoder.save_pretrained(folder)
    make_instruction_tokenizer(list(INSTRUCTIONS.values())).save_pretrained(folder)
    return encoder
