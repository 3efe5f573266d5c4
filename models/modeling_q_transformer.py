"""The Q-Transformer: the value of every bin of every dimension of an action, one dimension after the other.

Sources: Chebotar et al., "Q-Transformer" (arXiv 2309.10150); Farebrother et al., "Stop Regressing" (arXiv
2403.03950) for values as distributions.

    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    chosen = model.choose_actions(states, images, input_ids)
    chosen.actions                              # (batch, dimensions) in [−1, 1]
    chosen.value                                # (batch, dimensions, action bins), expected returns

The sequence is the tokens of the observation, a start token, and a token for the bin of every dimension but
the last. The token before a dimension values all its bins, with one head for all dimensions. In training one
pass values all dimensions of the actions of the data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_q_transformer import QTransformerConfig
from .observation_tokens import ImageTokens, SentenceToken, StateTokens, WordTokens
from .transformer_blocks import ValueTransformerBlock
from .value_head import ValueHead, value_loss_of


# The softmax of a CPU takes ten times longer over fewer numbers than a vector register holds.
MIN_KEYS = 16


@dataclass
class DimensionValueOutput(ModelOutput):
    """The prediction for every bin of every dimension.

    logits: (batch, dimensions, action bins, num_outputs). value: (batch, dimensions, action bins) float32,
    the expected return. cache: keys and values for the next call, with `use_cache`.
    """

    logits: Tensor | None = None
    value: Tensor | None = None
    cache: Cache | None = None


@dataclass
class ChosenActions(ModelOutput):
    """Actions whose every dimension has the highest value.

    actions: (batch, dimensions) float32 in [−1, 1]. bins: (batch, dimensions), the same as indices. value:
    (batch, dimensions, action bins) float32. probs: (batch, dimensions, bins), the predicted distribution of
    the return of each chosen bin; None if the value loss has no distribution.
    """

    actions: Tensor | None = None
    bins: Tensor | None = None
    value: Tensor | None = None
    probs: Tensor | None = None


def nearest_bins(actions: Tensor, num_bins: int) -> Tensor:
    """Return the bins of numbers in [−1, 1]; bin 0 is −1, and the last is 1."""
    return ((actions.clamp(-1, 1) + 1) / 2 * (num_bins - 1)).round().long()


def bin_actions(bins: Tensor, num_bins: int) -> Tensor:
    """Return the numbers in [−1, 1] of bins, float32."""
    return bins.float() / (num_bins - 1) * 2 - 1


class QTransformer(PreTrainedModel):
    """Q(s, a) for actions of several dimensions, from states or images and an instruction."""

    config_class = QTransformerConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ["ValueTransformerBlock"]
    _input_embed_layer = "action_embedding"  # which FSDP2 asks for
    _supports_sdpa = True

    def __init__(self, config: QTransformerConfig):
        super().__init__(config)
        self.state_tokens = StateTokens(config) if config.state_size else None
        self.image_tokens = ImageTokens(config) if config.image_size else None
        has_encoder = config.instruction_encoder is not None
        self.instruction_tokens = SentenceToken(config) if has_encoder else WordTokens(config)
        parts = (self.state_tokens, self.image_tokens, self.instruction_tokens)
        self.num_prefix_tokens = sum(part.num_tokens for part in parts if part is not None)
        # The start token, and the bins of each dimension but the last.
        num_embeddings = 1 + (config.num_dimensions - 1) * config.num_action_bins
        self.action_embedding = nn.Embedding(num_embeddings, config.hidden_size)
        self.position_embedding = nn.Embedding(
            self.num_prefix_tokens + config.num_dimensions, config.hidden_size
        )
        self.blocks = nn.ModuleList(
            ValueTransformerBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self._masks: dict[tuple, Tensor | None] = {}
        self.value_loss = value_loss_of(config)
        self.head = ValueHead(config.hidden_size, self.value_loss, config.num_action_bins)
        self.post_init()

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # The functions of transformers.initialization leave loaded weights alone.
        super()._initialize_weights(module, is_custom_code=False)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if module is self.head and self.value_loss.num_outputs == 1:
                std = 0.02  # or regression would start with values as wide apart as returns
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, QTransformer):
            if self.config.position_initializer_range is not None:
                init.trunc_normal_(
                    module.position_embedding.weight, std=self.config.position_initializer_range
                )
        elif isinstance(module, StateTokens):
            # Of states that are normalised already, the configuration has no statistics.
            size = self.config.state_size
            init.copy_(module.mean, torch.tensor(self.config.state_mean or [0.0] * size))
            init.copy_(module.std, torch.tensor(self.config.state_std or [1.0] * size))

    @can_return_tuple
    def forward(
        self,
        states: Tensor | None = None,
        images: Tensor | None = None,
        input_ids: Tensor | None = None,
        bins: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        with_values: bool = True,
    ) -> DimensionValueOutput:
        """Value the first dimension, and those after given `bins` (batch, n): n + 1 dimensions in all.

        `states` (batch, history, state_size), `images` (batch, history, height, width, 3) uint8 and the
        instructions `input_ids` (batch, length) are as the configuration has them. `bins` are those of the
        first n dimensions. `use_cache` returns keys and values as `cache`; the next call takes it instead of
        the observation, and one bin more, and values the next dimension alone. Without `with_values` there
        are logits alone. Raises ValueError for observations of other sizes.
        """
        if cache is not None:
            assert bins is not None, "the bins chosen so far"
            hidden, mask = self._embed_actions(bins)[:, -1:], None
            num_kept = 1
        else:
            prefix = self._embed_observation(states, images, input_ids)
            if bins is None:
                bins = torch.zeros(len(prefix), 0, dtype=torch.long, device=prefix.device)
            hidden, num_kept = torch.cat([prefix, self._embed_actions(bins)], dim=1), 1 + bins.shape[1]
            mask = self._mask(hidden)
            cache = DynamicCache(config=self.config) if use_cache else None
        for layer, block in enumerate(self.blocks, start=1):
            hidden = block(hidden, mask, None, cache, num_kept if layer == len(self.blocks) else None)
        logits = self.head(self.norm(hidden)).unflatten(-1, (-1, self.value_loss.num_outputs))
        value = self.value_loss.value(logits) if with_values else None
        return DimensionValueOutput(logits=logits, value=value, cache=cache)

    @torch.no_grad()
    def choose_actions(
        self,
        states: Tensor | None = None,
        images: Tensor | None = None,
        input_ids: Tensor | None = None,
    ) -> ChosenActions:
        """Choose the best bin of one dimension after the other; the arguments are those of `forward`.

        One pass reads the observation and values the first dimension; for each of the others a pass of one
        token follows, with cached keys and values.
        """
        output = self(states, images, input_ids, use_cache=True)
        values, logits = [output.value], [output.logits]
        bins = output.value.argmax(dim=-1)  # (batch, dimensions so far)
        for _ in range(1, self.config.num_dimensions):
            output = self(bins=bins, cache=output.cache)
            values.append(output.value)
            logits.append(output.logits)
            bins = torch.cat([bins, output.value.argmax(dim=-1)], dim=1)
        of_chosen = torch.cat(logits, dim=1).take_along_dim(bins[..., None, None], dim=2).squeeze(2)
        return ChosenActions(
            actions=bin_actions(bins, self.config.num_action_bins),
            bins=bins,
            value=torch.cat(values, dim=1),
            probs=of_chosen.float().softmax(dim=-1) if self.value_loss.num_outputs > 1 else None,
        )

    def _mask(self, hidden: Tensor) -> Tensor | None:
        """Return the mask for the tokens of `hidden`, made once, with a batch of 1."""
        key = hidden.shape[1], hidden.dtype, hidden.device, self.config._attn_implementation
        if key not in self._masks:
            # Training, which may follow, cannot save a tensor made in inference mode for its backward pass.
            with torch.inference_mode(False):
                keys = hidden.new_empty(1, max(hidden.shape[1], MIN_KEYS), 1)
                self._masks[key] = create_bidirectional_mask(
                    self.config, hidden[:1], None, encoder_hidden_states=keys, and_mask_function=self._sees
                )
        return self._masks[key]

    def _sees(self, batch: int, head: int, query: Tensor, key: Tensor) -> Tensor:
        """Return whether a token sees another: all see the observation, and actions the dimensions before."""
        return (key < self.num_prefix_tokens) | (key <= query)

    def _embed_observation(
        self, states: Tensor | None, images: Tensor | None, input_ids: Tensor | None
    ) -> Tensor:
        """Return the prefix, (batch, num_prefix_tokens, width)."""
        config, tokens = self.config, []
        if self.state_tokens is not None:
            _check_shape("states", states, (config.history, config.state_size))
            tokens.append(self.state_tokens(states))
        if self.image_tokens is not None:
            _check_shape("images", images, (config.history, config.image_size, config.image_size, 3))
            tokens.append(self.image_tokens(images))
        if input_ids is None:
            raise ValueError("the model reads an instruction: input_ids are missing")
        tokens.append(self.instruction_tokens(input_ids))
        prefix = torch.cat(tokens, dim=1)
        return prefix + self.position_embedding(torch.arange(self.num_prefix_tokens, device=prefix.device))

    def _embed_actions(self, bins: Tensor) -> Tensor:
        """Return the start token and those of `bins` (batch, n): (batch, 1 + n, width)."""
        dimensions = torch.arange(bins.shape[1], device=bins.device)
        tokens = 1 + self.config.num_action_bins * dimensions + bins
        tokens = nn.functional.pad(tokens, (1, 0))
        positions = self.num_prefix_tokens + torch.arange(tokens.shape[1], device=bins.device)
        return self.action_embedding(tokens) + self.position_embedding(positions)


def _check_shape(name: str, given: Tensor | None, expected: tuple[int, ...]) -> None:
    if given is None:
        raise ValueError(f"the model reads {name}, which are missing")
    if given.shape[1:] != expected:
        raise ValueError(f"the model reads {name} of shape {expected}; got {tuple(given.shape[1:])}")


QTransformer.register_for_auto_class("AutoModel")
