"""The settings of runs of studies.plasticity; nothing here imports torch."""

from dataclasses import asdict, dataclass
from pathlib import Path

from cli.errors import InputError


BIASES = (0, 8, 16, 24, 32)  # of the targets, one per stage
RESULT = "result.json"


@dataclass(frozen=True)
class PlasticityConfig:
    """The settings of a run; `images` is a dataset for `datasets.load_dataset`, None for synthetic images.

    With `fresh`, every stage starts with a new network: a control that cannot lose plasticity.
    """

    loss: str
    seed: int
    fresh: bool = False
    width: int = 32  # channels of the first layer
    steps: int = 5000  # of each stage
    batch_size: int = 512
    learning_rate: float = 1e-3
    num_images: int = 50_000
    images: str | None = None


def check_settings(output: Path, before: dict, config: PlasticityConfig) -> None:
    """Raise InputError if the settings of a run in `output` were others than `config`."""
    changed = [
        f"{key}: {before.get(key)}, now {value}"
        for key, value in asdict(config).items()
        if before.get(key) != value
    ]
    if changed:
        raise InputError(
            f"{output} was trained with other settings: {'; '.join(changed)}: delete it, "
            "or choose another --output"
        )
