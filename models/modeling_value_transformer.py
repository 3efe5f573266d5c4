"""A transformer that predicts a distribution over returns, for states alone or with candidate actions.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950) for values as distributions; Ruoss et al.,
"Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494) for the architecture, whose weights it
loads: learned positions, pre-LayerNorm, attention and SwiGLU without biases, embeddings times √d.

    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    output = model(input_ids, action_ids)       # the state's tokens, and the actions to value
    output.value                                # (batch, num_actions), expected return
    output.logits                               # (batch, num_actions, num_bins), its distribution

Language agents choose the next token: there `model(input_ids)` values every token of the vocabulary at every
position, (batch, length, vocab_size), and a key-value cache spares what was read before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput

from .board_rotation import rotate, rotation_of, square_angles
from .configuration_value_transformer import ValueTransformerConfig
from .tokenization_chess import ACTION_SQUARES
from .value_losses import ValueLoss, make_value_loss


@dataclass
class HiddenStatesOutput(ModelOutput):
    """Hidden states of the backbone.

    last_hidden_state: (batch, length + action tokens, hidden_size). cache: keys and values for the next call,
    with `use_cache`. transformers 5.24 renamed `past_key_values` to `cache`; an output class of our own has
    the new name under 5.23 too.
    """

    last_hidden_state: Tensor | None = None
    cache: Cache | None = None


@dataclass
class ActionValueOutput(ModelOutput):
    """What is predicted for each action; entries of padded actions mean nothing.

    loss: scalar float32, where `labels` were given. logits: (batch, num_actions, num_outputs).
    value: (batch, num_actions) float32, the expected return, without gradient.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    value: Tensor | None = None


@dataclass
class TokenValueOutput(ModelOutput):
    """What is predicted for every token of the vocabulary as the next one.

    logits: (batch, kept positions, vocab_size, num_outputs). value: (batch, kept positions, vocab_size)
    float32, the expected return. cache: keys and values for the next call, with `use_cache`.
    """

    logits: Tensor | None = None
    value: Tensor | None = None
    cache: Cache | None = None


class ValueTransformerAttention(nn.Module):
    """Multi-head attention without biases; the pattern is the mask's."""

    def __init__(self, config: ValueTransformerConfig, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = config.attention == "causal"  # read by the kernels where no mask is needed
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        batch, length, width = hidden.shape
        heads = (batch, length, width // self.head_dim, self.head_dim)
        query = self.query(hidden).view(heads).transpose(1, 2)  # (batch, heads, length, head_dim)
        key = self.key(hidden).view(heads).transpose(1, 2)
        value = self.value(hidden).view(heads).transpose(1, 2)
        device = hidden.device.type
        if device == "cpu":
            # The CPU's fused kernel is several times slower backwards in bfloat16 than in float32.
            query, key, value = query.float(), key.float(), value.float()
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and device != "cpu"):
            attended, _ = attend(self, query, key, value, mask, dropout=0.0, scaling=self.scaling)
        return self.output(attended.to(hidden.dtype).reshape(batch, length, width))


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Plain attention, which fused kernels must match; heads are dimension 1, and 2 of the result."""
    scores = query @ key.transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    probs = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (probs @ value).transpose(1, 2).contiguous(), probs


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(nn.functional.silu(self.gate(hidden)) * self.up(hidden))


class ValueTransformerBlock(GradientCheckpointingLayer):
    """Attention, then the feed-forward layer, each on its normalised input and added to it."""

    def __init__(self, config: ValueTransformerConfig, layer: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ValueTransformerAttention(config, layer)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = SwiGLU(config)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden), mask, rotation, cache)
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))


class ValueTransformerPreTrainedModel(PreTrainedModel):
    """Initialisation, loading and saving."""

    config_class = ValueTransformerConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ValueTransformerBlock"]
    _input_embed_layer = "token_embedding"
    _supports_sdpa = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *arguments, config=None, **settings):
        """Load a model; AutoModel calls this, maybe by the wrong one of the classes with a head.

        It remembers one class for each class of configurations, the first that it has loaded, and both have
        the same. The configuration says which it is.
        """
        with_heads = (ValueTransformerForActionValue, ValueTransformerForTokenValue)
        # As remote code, the class of its configuration may be another import of the same file.
        if cls in with_heads and isinstance(config, PreTrainedConfig):
            named = [kind for kind in with_heads if [kind.__name__] == config.architectures]
            cls = named[0] if named else cls
        return super().from_pretrained(pretrained_model_name_or_path, *arguments, config=config, **settings)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, ValueTransformerModel):
            embeddings = (
                module.position_embedding,
                module.cycle_embedding,
                module.phase_embedding,
                module.slot_embedding,
            )
            for embedding in embeddings:
                if embedding is not None:
                    init.trunc_normal_(embedding.weight, std=self.config.position_initializer_range)
            if module.action_squares is not None:
                init.copy_(module.action_squares, torch.from_numpy(ACTION_SQUARES))


class ValueTransformerModel(ValueTransformerPreTrainedModel):
    """The backbone: state tokens, and after them any number of actions that do not see each other."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.cycle_embedding = self.phase_embedding = None
        if config.position_period is not None:
            num_cycles = -(-config.max_position_embeddings // config.position_period)
            self.cycle_embedding = nn.Embedding(num_cycles, config.hidden_size)
            self.phase_embedding = nn.Embedding(config.position_period, config.hidden_size)
        self.slot_embedding = None
        if config.tokens_per_action > 1:
            self.slot_embedding = nn.Embedding(config.tokens_per_action, config.hidden_size)
        self.blocks = nn.ModuleList(
            ValueTransformerBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # Saved with the weights: a buffer that is not saved comes back from the meta device as garbage.
        knows_squares = config.action_embedding == "board" or config.board_rotation
        self.register_buffer("action_squares", torch.from_numpy(ACTION_SQUARES) if knows_squares else None)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        action_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
    ) -> HiddenStatesOutput:
        """Return the hidden states of state and actions, (batch, length + num_actions, hidden_size).

        With several tokens per action there are as many for each, those of an action next to each other.
        `input_ids` (batch, length) are the tokens of the state; `action_ids` (batch, num_actions) are one
        action at most if attention is full. If it is causal, `use_cache` returns keys and values for a next
        call, which takes them as `cache` and then only the tokens that are new.
        """
        if (use_cache or cache is not None) and self.config.attention != "causal":
            raise ValueError(f"attention is {self.config.attention}: only causal can use a key-value cache")
        if action_ids is not None and cache is not None:
            raise ValueError("actions are valued with the whole state, not after cached keys and values")
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        num_past = 0 if cache is None else cache.get_seq_length()
        num_states = num_past + input_ids.shape[1]
        if num_states > self.config.max_position_embeddings:
            raise ValueError(
                f"{num_states} tokens, but the model has {self.config.max_position_embeddings} positions"
            )
        positions = torch.arange(num_past, num_states, device=input_ids.device)
        hidden = self._embed(input_ids, positions)
        if action_ids is not None:
            if self.config.attention == "full" and action_ids.shape[1] > 1:
                raise ValueError("full attention takes one action per sequence: put each in a row of its own")
            hidden = torch.cat([hidden, self._embed_actions(input_ids, action_ids)], dim=1)
        mask = self._attention_mask(hidden, num_states, cache)
        rotation = self._rotation(input_ids, num_past, action_ids) if self.config.board_rotation else None
        for block in self.blocks:
            hidden = block(hidden, mask, rotation, cache)
        return HiddenStatesOutput(last_hidden_state=self.norm(hidden), cache=cache)

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        scale = math.sqrt(self.config.hidden_size)
        hidden = self.token_embedding(tokens) * scale + self.position_embedding(positions)
        if self.config.position_period is not None:
            hidden = hidden + self.cycle_embedding(positions // self.config.position_period)
            hidden = hidden + self.phase_embedding(positions % self.config.position_period)
        return hidden

    def _embed_actions(self, input_ids: Tensor, action_ids: Tensor) -> Tensor:
        """Embed the tokens of actions (batch, num_actions); all stand at the position after the state."""
        num_tokens = self.config.tokens_per_action
        action_ids = action_ids.clamp(min=0)  # padding, which nothing else sees
        hidden = self._embed(action_ids, torch.full_like(action_ids, input_ids.shape[1]))
        hidden = hidden[:, :, None].repeat(1, 1, num_tokens, 1)  # (batch, num_actions, tokens, width)
        if self.config.action_embedding == "board":
            squares = self.action_squares[action_ids] + 1  # (batch, num_actions, 2); BOS comes first
            pieces = input_ids.gather(1, squares.flatten(1)).view_as(squares)
            ends = self._embed(pieces, squares)
            hidden[:, :, :2] += ends.sum(dim=2, keepdim=True) if num_tokens == 1 else ends
        if self.slot_embedding is not None:
            hidden = hidden + self.slot_embedding(torch.arange(num_tokens, device=action_ids.device))
        return hidden.flatten(1, 2)

    def _rotation(self, input_ids: Tensor, num_past: int, action_ids: Tensor | None) -> Tensor:
        """Return how all tokens are turned, (batch or 1, 2 or 1, tokens, 2 × head width), see `rotate`."""
        num_heads, num_tokens = self.config.num_attention_heads, self.config.tokens_per_action
        num_angles = self.config.hidden_size // num_heads // 2
        table = rotation_of(square_angles(num_past + input_ids.shape[1], num_angles, input_ids.device))
        rotation = table[None, None, num_past:]
        if action_ids is None:
            return rotation
        start, end = (self.action_squares[action_ids.clamp(min=0)] + 1).unbind(-1)  # (batch, actions)
        # Where the tokens of an action stand, in the first half of the heads and in the second.
        places = [(start, end)] if num_tokens == 1 else [(start, start), (end, end)]
        places += [(start, end)] * (num_tokens - len(places))
        squares = torch.stack([torch.stack(halves) for halves in places], dim=-1)
        squares = squares.transpose(0, 1).flatten(2)  # (batch, 2, tokens of all actions)
        return torch.cat([rotation.expand(len(squares), 2, -1, -1), table[squares]], dim=2)

    def _attention_mask(self, hidden: Tensor, num_states: int, cache: Cache | None) -> Tensor | None:
        """Return the mask as the attention kernels take it, made for one row: it is the same for all."""

        num_tokens = self.config.tokens_per_action

        def sees(batch, head, query, key):  # a state token that the pattern allows, or its own action
            return (key < num_states) | (
                (key - num_states) // num_tokens == (query - num_states) // num_tokens
            )

        num_past = 0 if cache is None else cache.get_seq_length()
        pattern = None if num_past + hidden.shape[1] == num_states else sees
        hidden = hidden[:1]
        if self.config.attention == "full":
            return None
        if self.config.attention == "prefix":
            return create_bidirectional_mask(self.config, hidden, None, and_mask_function=pattern)
        return create_causal_mask(self.config, hidden, None, cache, and_mask_function=pattern)


def value_loss_of(config: ValueTransformerConfig) -> ValueLoss:
    """Return the value loss that a model was configured with, which decodes its outputs."""
    return make_value_loss(
        config.value_loss,
        value_min=config.value_min,
        value_max=config.value_max,
        num_bins=config.num_bins,
        sigma_ratio=config.sigma_ratio,
        sigma=config.sigma,
        padding=config.support_padding,
        match_mean=config.match_mean,
    )


class ValueHead(nn.Linear):
    """The last layer, `num_values` times the outputs of a value loss.

    An output that is itself a value, as for mse, is float32: autocast would round it to three digits.
    """

    def __init__(self, hidden_size: int, value_loss: ValueLoss, num_values: int = 1):
        super().__init__(hidden_size, num_values * value_loss.num_outputs)
        self.outputs_are_values = value_loss.num_outputs == 1

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.outputs_are_values:
            return super().forward(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.weight.float(), self.bias.float())


class ValueTransformerForActionValue(ValueTransformerPreTrainedModel):
    """Q(s, a) for actions that are tokens: one call values any number of actions in each state."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.model = ValueTransformerModel(config)
        self.value_loss = value_loss_of(config)
        self.head = ValueHead(config.hidden_size, self.value_loss)
        self.post_init()

    def forward(
        self, input_ids: Tensor, action_ids: Tensor, labels: Tensor | None = None
    ) -> ActionValueOutput:
        """Value actions, whatever the attention.

        `input_ids` (batch, length) are the state's tokens, `action_ids` (batch, num_actions) the actions,
        padded with -100, and `labels` (batch, num_actions), if given, their true values.
        """
        start = torch.full_like(input_ids[:, :1], self.config.bos_token_id)
        states = torch.cat([start, input_ids], dim=1)
        if self.config.attention == "full":
            logits = self._value_pairs(states, action_ids)
        else:
            hidden = self.model(states, action_ids).last_hidden_state[:, states.shape[1] :]
            per_action = self.config.tokens_per_action
            logits = self.head(hidden[:, per_action - 1 :: per_action])
        loss = None if labels is None else self.value_loss.loss(logits, labels, weight=action_ids >= 0)
        return ActionValueOutput(loss=loss, logits=logits, value=self.value_loss.value(logits.detach()))

    def _value_pairs(self, states: Tensor, action_ids: Tensor) -> Tensor:
        """Run every (state, action) pair as a sequence of its own, padding left out."""
        if action_ids.shape[1] == 1:
            return self.head(self.model(states, action_ids).last_hidden_state[:, -1:])
        is_action = action_ids >= 0
        is_action[0, 0] = True  # attention kernels refuse a batch of none
        row, column = is_action.nonzero(as_tuple=True)
        hidden = self.model(states[row], action_ids[row, column, None]).last_hidden_state[:, -1]
        pair_logits = self.head(hidden)  # (pairs, num_outputs)
        logits = pair_logits.new_zeros(*action_ids.shape, self.value_loss.num_outputs)
        return logits.index_put((row, column), pair_logits)


class ValueTransformerForTokenValue(ValueTransformerPreTrainedModel):
    """Q(s, ·) of every token of the vocabulary as the next one, at every position: for language agents."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        if config.attention != "causal":
            raise ValueError(f"values of the next token need causal attention, not {config.attention}")
        if config.board_rotation:
            raise ValueError("board_rotation is for chess boards, not for values of the next token")
        self.model = ValueTransformerModel(config)
        self.value_loss = value_loss_of(config)
        self.head = ValueHead(config.hidden_size, self.value_loss, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        cache: Cache | None = None,
        use_cache: bool = False,
        logits_to_keep: int | Tensor = 0,
    ) -> TokenValueOutput:
        """Value every token of the vocabulary as the one that follows each of `input_ids` (batch, length).

        With `cache`, which `use_cache` returns, `input_ids` are only the tokens that are new.
        `logits_to_keep` says where values are wanted: at the last so many positions, at all (0), or at the
        positions (kept,) of a tensor.
        """
        outputs = self.model(input_ids, cache=cache, use_cache=use_cache)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.head(outputs.last_hidden_state[:, kept])
        logits = logits.unflatten(-1, (self.config.vocab_size, self.value_loss.num_outputs))
        return TokenValueOutput(logits=logits, value=self.value_loss.value(logits), cache=outputs.cache)


ValueTransformerModel.register_for_auto_class("AutoModel")
ValueTransformerForActionValue.register_for_auto_class("AutoModel")
ValueTransformerForTokenValue.register_for_auto_class("AutoModel")
