"""Configuration of the convolutional value network: architecture, games, and its value loss."""

from transformers import PreTrainedConfig


ARCHITECTURES = ("minatar", "nature", "impala", "resnet18", "resnet34", "resnet50", "resnet101")


class ValueConvNetConfig(PreTrainedConfig):
    """Configuration of a ValueConvNet.

    `architecture` is one of ARCHITECTURES; `num_experts` above 0 puts a SoftMoE with so many experts in place
    of the dense layer of impala. `input_shape` is the shape of an observation, (channels, height, width), and
    `pixel_max` the value of a bright pixel. `games` are the names of the games, with a head each, and
    `num_actions` the number of actions of each.

    `value_loss` to `match_mean` are the arguments of `make_value_loss`; `support_padding` is its `padding`.
    """

    model_type = "value_convnet"

    architecture: str = "nature"
    num_experts: int = 0
    hidden_size: int = 512
    input_shape: tuple[int, ...] | list[int] = (4, 84, 84)
    pixel_max: int = 255
    games: tuple[str, ...] | list[str] = ("atari",)
    num_actions: tuple[int, ...] | list[int] = (18,)
    value_loss: str = "hl_gauss"
    value_min: float = -10.0
    value_max: float = 10.0
    num_bins: int = 51
    sigma_ratio: float = 0.75
    sigma: float | None = None
    support_padding: float = 0.0
    match_mean: bool = False

    def __post_init__(self, **kwargs):
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture must be one of {', '.join(ARCHITECTURES)}; got {self.architecture!r}"
            )
        if self.num_experts and self.architecture != "impala":
            raise ValueError(f"num_experts is for impala, not for {self.architecture}")
        if len(self.games) != len(self.num_actions):
            raise ValueError(f"{len(self.games)} games, but {len(self.num_actions)} numbers of actions")
        super().__post_init__(**kwargs)


ValueConvNetConfig.register_for_auto_class()
