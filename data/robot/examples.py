"""Decisions of a robot as training examples: observation, action, reward and next observation."""

import zlib

import numpy as np

from data.noise import uniform_at
from data.robot.episodes import Episodes
from data.training_set import some_of


class Decisions:
    """The frames of episodes, each with the `history` − 1 frames before it.

    Before the first frame of an episode there are copies of it.

    `input_ids` (instructions, tokens) are the tokens of every instruction. `reward_noise` adds noise from
    U(0, η) to every reward, a function of frame and `seed`. With `only_successes`, episodes without a reward
    are left out. With `image_shift` n every decision has (2n + 1)² copies, one for each shift of its images
    by −n to n pixels in both directions. The pixels of an edge are repeated beyond it (Kostrikov et al.,
    "Image Augmentation Is All You Need", arXiv 2004.13649).
    """

    def __init__(
        self,
        episodes: Episodes,
        input_ids: np.ndarray,
        *,
        discount: float,
        history: int = 1,
        reward_noise: float = 0.0,
        only_successes: bool = False,
        image_shift: int = 0,
        seed: int = 0,
    ):
        self.episodes, self.input_ids, self.image_shift = episodes, input_ids, image_shift
        self.rewards = episodes.rewards
        if reward_noise:
            noise = uniform_at(np.arange(len(self.rewards)), seed)
            self.rewards = (self.rewards + reward_noise * noise).astype(np.float32)
        lengths = np.diff(episodes.starts)
        self.first = np.repeat(episodes.starts[:-1], lengths)  # of the episode of every frame
        self.last = np.repeat(episodes.starts[1:] - 1, lengths)
        self.returns = discounted_returns(self.rewards, episodes.starts, discount)
        # One frame more than an observation: that of the next one.
        self.offsets = np.arange(1 - history, 2)
        is_kept = episodes.rewards[self.last] > 0 if only_successes else np.ones(len(self.rewards), bool)
        self.frames = np.flatnonzero(is_kept)

    def __len__(self) -> int:
        return len(self.frames) * (2 * self.image_shift + 1) ** 2

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return np.full(len(indices), self.episodes.actions.shape[1])

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return decisions as arrays.

        states (batch, history + 1, size) and images (batch, history + 1, height, width, 3) end with the frame
        that follows the decision; after the last decision of an episode it is the last frame again. input_ids
        (batch, tokens), actions (batch, dimensions), rewards, returns and is_last (batch,).
        """
        shift, indices = np.divmod(indices, len(self.frames))
        indices = self.frames[indices]
        first, last = self.first[indices], self.last[indices]
        frames = (indices[:, None] + self.offsets).clip(first[:, None], last[:, None])
        episodes = self.episodes
        batch = {
            "input_ids": self.input_ids[episodes.tasks[indices]],
            "actions": episodes.actions[indices],
            "rewards": self.rewards[indices],
            "returns": self.returns[indices],
            "is_last": indices == last,
        }
        if episodes.states is not None:
            batch["states"] = episodes.states[frames]
        if episodes.images is not None:
            images = episodes.images[frames]
            batch["images"] = self._shifted_images(images, shift) if self.image_shift else images
        return batch

    def _shifted_images(self, images: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Shift images (batch, history + 1, height, width, 3); `shift` (batch,) are numbers of copies."""
        n, (height, width) = self.image_shift, images.shape[2:4]
        padded = np.pad(images, ((0, 0), (0, 0), (n, n), (n, n), (0, 0)), mode="edge")
        top_left = zip(*np.divmod(shift, 2 * n + 1), strict=True)
        return np.stack(
            [
                frames[:, top : top + height, left : left + width]
                for frames, (top, left) in zip(padded, top_left, strict=True)
            ]
        )

    def fingerprint(self) -> dict[str, int]:
        some = self.frames[some_of(len(self.frames))]
        episodes = self.episodes
        arrays = {
            "states": episodes.states,
            "images": episodes.images,
            "actions": episodes.actions,
            "rewards": self.rewards,
            "tasks": episodes.tasks,
        }
        checksums = {
            name: zlib.crc32(np.ascontiguousarray(array[some]).tobytes())
            for name, array in arrays.items()
            if array is not None
        }
        instructions = zlib.crc32("\n".join(episodes.instructions).encode())
        starts = zlib.crc32(episodes.starts.tobytes())
        return {"num_frames": len(self.frames), "starts": starts, "instructions": instructions, **checksums}


def discounted_returns(rewards: np.ndarray, starts: np.ndarray, discount: float) -> np.ndarray:
    """Return Σ_j γ^j r_{t+j} up to the end of the episode, for every frame t: (frames,) float32."""
    returns = rewards.astype(np.float64)
    lengths = np.diff(starts)
    for before_end in range(2, int(lengths.max()) + 1):
        frames = starts[1:][lengths >= before_end] - before_end
        returns[frames] += discount * returns[frames + 1]
    return returns.astype(np.float32)
