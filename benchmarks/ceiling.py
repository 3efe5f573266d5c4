"""What the machine can do at best: matrix products per second, and what of it a model needs."""

import statistics
import time

import torch

from models.configuration_value_transformer import ValueTransformerConfig
from models.tokenization_chess import BOARD_LENGTH


MATRIX_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384)}
SECONDS_PER_SIZE = 0.5
STATE_LENGTH = 1 + BOARD_LENGTH  # BOS and the board


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure floating-point operations per second in products of square matrices, the best size's median."""
    rates = []
    for size in MATRIX_SIZES.get(device.type, MATRIX_SIZES["cpu"]):
        first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        first @ second  # the first call chooses kernels
        seconds: list[float] = []
        while len(seconds) < 5 or sum(seconds) < SECONDS_PER_SIZE:
            synchronize(device)
            started = time.perf_counter()
            first @ second
            synchronize(device)
            seconds.append(time.perf_counter() - started)
        rates.append(2 * size**3 / statistics.median(seconds))
    return max(rates)


def forward_operations(config: ValueTransformerConfig, num_outputs: int, num_moves: list[int]) -> int:
    """Count floating-point operations of the matrix products that valuing all moves of boards needs.

    `num_moves` are those of each board; padding is not counted, and of attention what the pattern lets see.
    A training step needs three times as many.
    """
    width, layers = config.hidden_size, config.num_hidden_layers
    per_token = 2 * layers * (4 * width**2 + 3 * width * config.intermediate_size)
    per_pair_seen = 2 * layers * 2 * width  # a score, and a weighted value
    own = config.tokens_per_action
    total = 0
    for moves in num_moves:
        state_pairs, action_pairs = STATE_LENGTH**2, own * (STATE_LENGTH + own)
        if config.attention == "causal":
            state_pairs = STATE_LENGTH * (STATE_LENGTH + 1) // 2
            action_pairs = own * STATE_LENGTH + own * (own + 1) // 2
        tokens = STATE_LENGTH + moves * own
        pairs = state_pairs + moves * action_pairs
        if config.attention == "full":
            tokens = moves * (STATE_LENGTH + own)
            pairs = moves * (STATE_LENGTH + own) ** 2
        total += tokens * per_token + pairs * per_pair_seen + moves * 2 * width * num_outputs
    return total
