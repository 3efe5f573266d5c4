"""Checks of what models predict."""

import numpy as np

from cli.errors import InputError


def check_finite(values: np.ndarray) -> None:
    """Raise InputError if a predicted value is not finite: argmax would choose a NaN as the best."""
    if not np.isfinite(values).all():
        raise InputError(
            "the model predicts values that are not finite: its weights are damaged, or training diverged"
        )
