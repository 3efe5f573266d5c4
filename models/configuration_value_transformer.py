"""Configuration of the value transformer: sizes, attention pattern, and the value loss that decodes it."""

from transformers import PreTrainedConfig


ATTENTIONS = ("full", "prefix", "causal")
ACTION_EMBEDDINGS = ("board", "table")


class ValueTransformerConfig(PreTrainedConfig):
    """Configuration of a ValueTransformerModel and its heads.

    `attention` is the pattern over state and action tokens:
    - full: bidirectional over the state and one action; every (state, action) pair is a sequence of its own;
    - prefix: the state is bidirectional, each action sees the state and itself: one pass values every action;
    - causal: a state token sees those before it; actions see the state and themselves.

    `action_embedding` is "table", an embedding for each action, or "board" (chess only), which adds the
    embeddings of the move's two squares and of the pieces on them. `tokens_per_action` gives an action more
    than one token: with two, one for its start square and one, which is read, for its end square; more are
    scratch tokens.

    `board_rotation` (chess only) rotates queries and keys by the squares of their tokens
    (models/board_rotation.py); a move has its start square in half of the heads and its end square in the
    other half.

    `value_loss` to `match_mean` are the arguments of `make_value_loss`; `support_padding` is its `padding`.
    The default sizes are those of ChessBench's 9M model; `intermediate_size` is 4 × `hidden_size` by default.
    `position_initializer_range` is the standard deviation of initial position embeddings, by default
    `initializer_range`; at `initializer_range` × √`hidden_size` they have the scale of the token embeddings
    they are added to. `position_period` adds embeddings of the position modulo this number and of the number
    of periods before it, for sequences that repeat a layout, such as the turns of a game.

    `preference_scale` adds a head that ranks the actions of a state (ranking_loss in models/value_losses.py).
    An action is chosen by its value plus this scale times the log-probability of being the best one.
    """

    model_type = "value_transformer"

    vocab_size: int = 1968
    max_position_embeddings: int = 79
    hidden_size: int = 256
    intermediate_size: int | None = None
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    attention: str = "prefix"
    action_embedding: str = "board"
    tokens_per_action: int = 1
    board_rotation: bool = False
    bos_token_id: int = 0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    position_initializer_range: float | None = None
    position_period: int | None = None
    value_loss: str = "hl_gauss"
    value_min: float = 0.0
    value_max: float = 1.0
    num_bins: int = 128
    sigma_ratio: float = 0.75
    sigma: float | None = None
    support_padding: float = 0.0
    match_mean: bool = False
    preference_scale: float | None = None

    def __post_init__(self, **kwargs):
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}; got {self.attention!r}")
        if self.action_embedding not in ACTION_EMBEDDINGS:
            choices = ", ".join(ACTION_EMBEDDINGS)
            raise ValueError(f"action_embedding must be one of {choices}; got {self.action_embedding!r}")
        if self.tokens_per_action < 1:
            raise ValueError(f"tokens_per_action must be at least 1, got {self.tokens_per_action}")
        sizes = f"hidden_size {self.hidden_size} and num_attention_heads {self.num_attention_heads}"
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"every head needs the same width: {sizes} do not divide")
        head_width = self.hidden_size // self.num_attention_heads
        if self.board_rotation and (self.num_attention_heads % 2 or head_width % 2):
            raise ValueError(f"board_rotation needs an even number of heads of even width; got {sizes}")
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        super().__post_init__(**kwargs)


ValueTransformerConfig.register_for_auto_class()
