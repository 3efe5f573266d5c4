"""Configuration of the Q-Transformer: its observations, the bins of its actions, and the value loss."""

from typing import Any

from transformers import PreTrainedConfig


IMAGE_ENCODERS = {"convolutions": 16, "resnet18": 32}  # strides: pixels of a token


class QTransformerConfig(PreTrainedConfig):
    """Configuration of a QTransformer.

    An observation is `history` frames, the newest last. A frame has a state of `state_size` numbers, an image
    of `image_size` × `image_size` pixels, or both; 0 means none. All states together become
    `num_state_tokens` tokens; `state_mean` and `state_std`, of the training data, normalise them. Every image
    becomes tokens by `image_encoder`, one of IMAGE_ENCODERS. An instruction is padded to
    `num_instruction_tokens` words of a vocabulary of `vocab_size`; or it is one token, made by a frozen
    encoder of transformers, whose configuration `instruction_encoder` is as a dict.

    An action has `num_dimensions` numbers in [−1, 1], each of which is one of `num_action_bins` evenly spaced
    numbers. `attention` is "prefix_causal": the tokens of the observation see each other; those of the action
    see them and the dimensions before.

    `value_loss` to `match_mean` are the arguments of `make_value_loss`; `support_padding` is its `padding`.
    `intermediate_size` is 4 × `hidden_size` by default. `initializer_range` is the standard deviation of
    initial embeddings, compared with 1 of the tokens of states; `position_initializer_range` is that of
    positions, by default the same.
    """

    model_type = "q_transformer"

    state_size: int = 0
    num_state_tokens: int = 4
    state_mean: list[float] | None = None
    state_std: list[float] | None = None
    image_size: int = 0
    image_encoder: str = "convolutions"
    history: int = 1
    vocab_size: int = 64
    num_instruction_tokens: int = 8
    instruction_encoder: dict[str, Any] | None = None
    num_dimensions: int = 4
    num_action_bins: int = 32
    hidden_size: int = 64
    intermediate_size: int | None = None
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    attention: str = "prefix_causal"
    pad_token_id: int = 0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.5
    position_initializer_range: float | None = None
    value_loss: str = "hl_gauss"
    value_min: float = 0.0
    value_max: float = 1.0
    num_bins: int = 31
    sigma_ratio: float = 0.75
    sigma: float | None = None
    support_padding: float = 0.0
    match_mean: bool = False

    def __post_init__(self, **kwargs):
        if self.attention != "prefix_causal":
            raise ValueError(f"attention must be prefix_causal, got {self.attention!r}")
        if self.image_encoder not in IMAGE_ENCODERS:
            choices = ", ".join(IMAGE_ENCODERS)
            raise ValueError(f"image_encoder must be one of {choices}; got {self.image_encoder!r}")
        if not self.state_size and not self.image_size:
            raise ValueError("an observation needs a state or an image: state_size and image_size are 0")
        stride = IMAGE_ENCODERS[self.image_encoder]
        if self.image_size % stride:
            raise ValueError(
                f"image_encoder {self.image_encoder} needs images of a multiple of {stride} pixels, not of "
                f"{self.image_size}"
            )
        for name in ("state_mean", "state_std"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) != self.state_size:
                raise ValueError(f"{name} has {len(numbers)} numbers, and a state has {self.state_size}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"every head needs the same width: hidden_size {self.hidden_size} and num_attention_heads "
                f"{self.num_attention_heads} do not divide"
            )
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        super().__post_init__(**kwargs)


QTransformerConfig.register_for_auto_class()
