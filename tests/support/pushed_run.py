"""A run that published its model: see the fixtures model_hub, pushed_run and copied_run."""

import re

from tests.support.training_runs import TINY


REPO = "user/tiny"
EIGHT_STEPS = [*TINY, "training.steps=8", "evaluation.every=4"]


def code_blocks(card: str) -> list[str]:
    """Return the Python code in a card."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)
