"""A transformer that predicts a distribution over returns, for states alone or with candidate actions.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950) for values as distributions; Ruoss et al.,
"Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494) for the architecture, whose weights it
loads: learned positions, pre-LayerNorm, attention and SwiGLU without biases, embeddings times √d.

    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    output = model(input_ids, action_ids)       # the state's tokens, and the actions to value
    output.value                                # (batch, num_actions), expected return
    output.logits                               # (batch, num_actions, num_bins), its distribution

`ValueTransformerForStateValue` values the states themselves, and `ValueTransformerForMovePrediction` predicts
the move that a player makes: ChessBench's two other targets, state values and behavioural cloning.

For language agents, which choose the next token, `model(input_ids)` values every token of the vocabulary at
every position, (batch, length, vocab_size), with a key-value cache for the tokens read before.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .chess_embedding import ChessEmbedding
from .chess_tokens import ACTION_SQUARES
from .configuration_value_transformer import ValueTransformerConfig
from .transformer_blocks import ValueTransformerBlock
from .value_head import ValueHead, value_loss_of


@dataclass
class HiddenStatesOutput(ModelOutput):
    """Hidden states of the backbone.

    last_hidden_state: (batch, length + action tokens, hidden_size). cache: keys and values for the next call,
    with `use_cache`. transformers 5.24 renamed `past_key_values` to `cache`; an output class of our own has
    the new name under 5.23 too. hidden_states: the embeddings and the output of each block, with
    `output_hidden_states`; the last is `last_hidden_state`.
    """

    last_hidden_state: Tensor | None = None
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class ActionValueOutput(ModelOutput):
    """The prediction for each action; entries of padded actions are meaningless.

    loss: scalar float32, where `labels` were given. logits: (batch, num_actions, num_outputs).
    value: (batch, num_actions) float32, the expected return, without gradient. preference: (batch,
    num_actions) float32, of a model with `preference_scale`: value + preference is highest for the action to
    choose. hidden_states: those of the backbone; with full attention the batch is one sequence per action
    that is not padding.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    value: Tensor | None = None
    preference: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class StateValueOutput(ModelOutput):
    """The prediction for each state.

    loss: scalar float32, where `labels` were given. logits: (batch, num_outputs). value: (batch,) float32,
    the expected return, without gradient. hidden_states: those of the backbone.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    value: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class MovePredictionOutput(ModelOutput):
    """The prediction of the move in each state.

    loss: scalar float32, where `labels` were given. logits: (batch, num_actions) float32, of all actions,
    also illegal ones. hidden_states: those of the backbone.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class TokenValueOutput(ModelOutput):
    """The prediction for every token of the vocabulary as the next one.

    logits: (batch, kept positions, vocab_size, num_outputs). value: (batch, kept positions, vocab_size)
    float32, the expected return. cache: keys and values for the next call, with `use_cache`. hidden_states:
    those of the backbone.
    """

    logits: Tensor | None = None
    value: Tensor | None = None
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None


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
        """Load a model by the class that its configuration names.

        AutoModel remembers one class for each configuration class, the first that it has loaded, and may call
        this method of the wrong one.
        """
        with_heads = (
            ValueTransformerForActionValue,
            ValueTransformerForStateValue,
            ValueTransformerForMovePrediction,
            ValueTransformerForTokenValue,
        )
        # With remote code the configuration may come from another import of the same file.
        if cls in with_heads and isinstance(config, PreTrainedConfig):
            named = [kind for kind in with_heads if [kind.__name__] == config.architectures]
            cls = named[0] if named else cls
        return super().from_pretrained(pretrained_model_name_or_path, *arguments, config=config, **settings)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # transformers takes custom modules without parameters of their own, such as the backbone, for
        # initialised; the functions of transformers.initialization leave loaded weights alone.
        super()._initialize_weights(module, is_custom_code=False)

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
                if embedding is not None and self.config.position_initializer_range is not None:
                    init.trunc_normal_(embedding.weight, std=self.config.position_initializer_range)
        elif isinstance(module, ChessEmbedding):
            init.copy_(module.action_squares, torch.from_numpy(ACTION_SQUARES))


class ValueTransformerModel(ValueTransformerPreTrainedModel):
    """The backbone: state tokens, followed by any number of actions that do not see each other."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.cycle_embedding: nn.Embedding | None = None
        self.phase_embedding: nn.Embedding | None = None
        if config.position_period is not None:
            num_cycles = -(-config.max_position_embeddings // config.position_period)
            self.cycle_embedding = nn.Embedding(num_cycles, config.hidden_size)
            self.phase_embedding = nn.Embedding(config.position_period, config.hidden_size)
        self.slot_embedding: nn.Embedding | None = None
        if config.tokens_per_action > 1:
            self.slot_embedding = nn.Embedding(config.tokens_per_action, config.hidden_size)
        self.blocks = nn.ModuleList(
            ValueTransformerBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        action_ids: Tensor | None = None,
        action_positions: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        num_kept: int | None = None,
    ) -> HiddenStatesOutput:
        """Return the hidden states of state and actions, (batch, length + action tokens, hidden_size).

        `input_ids` (batch, length) are the tokens of the state. `action_ids` (batch, num_actions) are one
        action at most if attention is full; each has `tokens_per_action` tokens, next to each other.
        `action_positions` (batch, num_actions, 2) are state tokens whose embeddings are added to those of the
        action; `rotation` (batch, 1 or 2, tokens, 2 × head width) turns queries and keys, see `rotate`. With
        causal attention, `use_cache` returns keys and values as `cache`; the next call takes them and only
        the new tokens. `attention_mask` (batch, length, with that of the cache) is 0 at padding, on either
        side; positions count the other tokens. With `num_kept`, only the last so many tokens are returned,
        and most of the last block is saved.
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
        if attention_mask is None:
            positions = torch.arange(num_past, num_states, device=input_ids.device)
            after_state = positions.new_full((1, 1), num_states)
        else:
            positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)[:, num_past:]
            after_state = attention_mask.sum(dim=1, keepdim=True)
        hidden = self._embed(input_ids, positions)
        if action_ids is not None:
            if self.config.attention == "full" and action_ids.shape[1] > 1:
                raise ValueError("full attention takes one action per sequence: put each in a row of its own")
            actions = self._embed_actions(input_ids, action_ids, action_positions, after_state)
            hidden = torch.cat([hidden, actions], dim=1)
        mask = self._attention_mask(hidden, num_states, cache, attention_mask)
        states = []
        for layer, block in enumerate(self.blocks, start=1):
            states.append(hidden)
            hidden = block(hidden, mask, rotation, cache, num_kept if layer == len(self.blocks) else None)
        hidden = self.norm(hidden)
        return HiddenStatesOutput(
            last_hidden_state=hidden,
            cache=cache,
            hidden_states=(*states, hidden) if output_hidden_states else None,
        )

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        scale = math.sqrt(self.config.hidden_size)
        hidden = self.token_embedding(tokens) * scale + self.position_embedding(positions)
        if self.cycle_embedding is not None and self.phase_embedding is not None:
            hidden = hidden + self.cycle_embedding(positions // self.config.position_period)
            hidden = hidden + self.phase_embedding(positions % self.config.position_period)
        return hidden

    def _embed_actions(
        self, input_ids: Tensor, action_ids: Tensor, action_positions: Tensor | None, after_state: Tensor
    ) -> Tensor:
        """Embed the tokens of actions (batch, num_actions), at the position `after_state` (batch, 1)."""
        num_tokens = self.config.tokens_per_action
        action_ids = action_ids.clamp(min=0)  # padding, which no other token sees
        hidden = self._embed(action_ids, after_state.expand_as(action_ids))
        hidden = hidden[:, :, None].repeat(1, 1, num_tokens, 1)  # (batch, num_actions, tokens, width)
        if action_positions is not None:
            tokens = input_ids.gather(1, action_positions.flatten(1)).view_as(action_positions)
            added = self._embed(tokens, action_positions)
            hidden[:, :, :2] += added.sum(dim=2, keepdim=True) if num_tokens == 1 else added
        if self.slot_embedding is not None:
            hidden = hidden + self.slot_embedding(torch.arange(num_tokens, device=action_ids.device))
        return hidden.flatten(1, 2)

    def _attention_mask(
        self, hidden: Tensor, num_states: int, cache: Cache | None, attention_mask: Tensor | None
    ) -> Tensor | None:
        """Return the mask for the kernels, (batch, 1, tokens, keys); batch is 1 if all rows are alike."""
        num_tokens = self.config.tokens_per_action

        def sees(batch, head, query, key):  # a state token that the pattern allows, or its own action
            return (key < num_states) | (
                (key - num_states) // num_tokens == (query - num_states) // num_tokens
            )

        num_past = 0 if cache is None else cache.get_seq_length()
        pattern = None if num_past + hidden.shape[1] == num_states else sees
        if attention_mask is None:
            hidden = hidden[:1]
        else:
            num_actions = num_past + hidden.shape[1] - num_states
            attention_mask = nn.functional.pad(attention_mask, (0, num_actions), value=1)
        if self.config.attention == "full":
            pattern = None
        if self.config.attention == "causal":
            return create_causal_mask(self.config, hidden, attention_mask, cache, and_mask_function=pattern)
        return create_bidirectional_mask(self.config, hidden, attention_mask, and_mask_function=pattern)


class ValueTransformerForActionValue(ValueTransformerPreTrainedModel):
    """Q(s, a) for actions that are tokens: one call values any number of actions in each state."""

    accepts_loss_kwargs = True  # transformers' Trainer gives `num_items_in_batch`

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.model = ValueTransformerModel(config)
        uses_board = config.action_embedding == "board" or config.board_rotation
        self.board = ChessEmbedding(config) if uses_board else None
        self.value_loss = value_loss_of(config)
        self.head = ValueHead(config.hidden_size, self.value_loss)
        ranks = config.preference_scale is not None
        self.ranking_head = nn.Linear(config.hidden_size, 1) if ranks else None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        action_ids: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> ActionValueOutput:
        """Value actions; the interface is the same for every attention pattern.

        `input_ids` (batch, length) are the state's tokens, `action_ids` (batch, num_actions) the actions, and
        `labels` (batch, num_actions), if given, their true values; both are padded with -100.
        `attention_mask` (batch, length) is 0 at padding of states. The loss is the mean over all actions, or
        their sum divided by `num_items_in_batch`, which transformers' Trainer gives where it accumulates
        gradients. Raises ValueError for padded states of a model whose actions refer to squares of a board.
        """
        start = torch.full_like(input_ids[:, :1], self.config.bos_token_id)
        states = torch.cat([start, input_ids], dim=1)
        if attention_mask is not None:
            if self.board is not None and not attention_mask.all():
                raise ValueError("all boards have the same length: attention_mask must be 1 everywhere")
            attention_mask = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask], dim=1)
        hidden, hidden_states = self._run(states, action_ids, attention_mask, output_hidden_states)
        logits = self.head(hidden)
        preference = None
        if self.ranking_head is not None and self.config.preference_scale is not None:
            ranking = self.ranking_head(hidden).squeeze(-1).float()
            ranking = ranking.masked_fill(action_ids < 0, torch.finfo(ranking.dtype).min)
            preference = self.config.preference_scale * ranking.log_softmax(dim=-1)
        loss = None
        if labels is not None:
            is_action = action_ids >= 0
            loss = self.value_loss.loss(logits, labels, weight=is_action)
            if num_items_in_batch is not None:
                loss = loss * is_action.sum() / num_items_in_batch
        value = self.value_loss.value(logits.detach())
        return ActionValueOutput(
            loss=loss, logits=logits, value=value, preference=preference, hidden_states=hidden_states
        )

    def _run(
        self,
        states: Tensor,
        action_ids: Tensor,
        attention_mask: Tensor | None,
        output_hidden_states: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Return the last hidden states of actions, (batch, num_actions, width), and all if wanted."""
        if self.config.attention == "full" and action_ids.shape[1] != 1:
            # Every (state, action) pair is a sequence of its own, without the padding.
            row, column = (action_ids >= 0).nonzero(as_tuple=True)
            mask = None if attention_mask is None else attention_mask[row]
            pairs = states[row], action_ids[row, column, None]
            hidden, hidden_states = self._run(*pairs, mask, output_hidden_states)
            of_actions = hidden.new_zeros(*action_ids.shape, hidden.shape[-1])
            return of_actions.index_put((row, column), hidden[:, 0]), hidden_states
        num_tokens = self.config.tokens_per_action
        num_kept = action_ids.shape[1] * num_tokens
        action_positions = rotation = None
        if self.board is not None and self.config.action_embedding == "board":
            action_positions = self.board.action_positions(action_ids)
        if self.board is not None and self.config.board_rotation:
            rotation = self.board.rotation(states.shape[1], action_ids)
        output = self.model(
            states,
            action_ids,
            action_positions,
            rotation,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states,
            num_kept=None if output_hidden_states else num_kept,
        )
        hidden = output.last_hidden_state
        of_actions = hidden[:, hidden.shape[1] - num_kept :]
        return of_actions[:, num_tokens - 1 :: num_tokens], output.hidden_states


class _ForStates(ValueTransformerPreTrainedModel):
    """A head on the last token of a state, as in ChessBench, which with any attention sees all of it."""

    accepts_loss_kwargs = True  # transformers' Trainer gives `num_items_in_batch`

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.model = ValueTransformerModel(config)
        self.board = ChessEmbedding(config) if config.board_rotation else None

    def _run(
        self, input_ids: Tensor, output_hidden_states: bool, num_kept: int | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Return the last hidden states, of all tokens or the last `num_kept`, and all if they are wanted."""
        start = torch.full_like(input_ids[:, :1], self.config.bos_token_id)
        states = torch.cat([start, input_ids], dim=1)
        rotation = None
        if self.board is not None and self.config.board_rotation:
            rotation = self.board.rotation(states.shape[1])
        output = self.model(
            states,
            rotation=rotation,
            output_hidden_states=output_hidden_states,
            num_kept=None if output_hidden_states else num_kept,
        )
        return output.last_hidden_state, output.hidden_states


class ValueTransformerForStateValue(_ForStates):
    """V(s) of the side to move; the value of a move is 1 − V of the position after it."""

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.value_loss = value_loss_of(config)
        self.head = ValueHead(config.hidden_size, self.value_loss)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> StateValueOutput:
        """Value states, `input_ids` (batch, length); `labels` (batch,), if given, are their true values.

        The loss is the mean over states, or their sum divided by `num_items_in_batch`.
        """
        hidden, hidden_states = self._run(input_ids, output_hidden_states, num_kept=1)
        logits = self.head(hidden[:, -1])
        loss = None
        if labels is not None:
            loss = self.value_loss.loss(logits, labels)
            if num_items_in_batch is not None:
                loss = loss * len(labels) / num_items_in_batch
        value = self.value_loss.value(logits.detach())
        return StateValueOutput(loss=loss, logits=logits, value=value, hidden_states=hidden_states)


class ValueTransformerForMovePrediction(_ForStates):
    """π(a|s) over all actions: behavioural cloning, which needs no legal moves to train.

    The logits are a linear layer on the last token, as in ChessBench. With `action_embedding` "board" the
    product of the tokens on the move's two squares is added, as in the attention policy of Leela Chess Zero.
    """

    def __init__(self, config: ValueTransformerConfig):
        super().__init__(config)
        self.head = nn.Linear(config.hidden_size, len(ACTION_SQUARES))
        if config.action_embedding == "board":
            self.board = ChessEmbedding(config)
            self.start_square = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
            self.end_square = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> MovePredictionOutput:
        """Predict the action in states, `input_ids` (batch, length); `labels` (batch,) are those taken.

        The loss is the mean over states, or their sum divided by `num_items_in_batch`; a label of -100 is
        ignored.
        """
        hidden, hidden_states = self._run(input_ids, output_hidden_states)
        logits = self.head(hidden[:, -1]).float()
        if self.config.action_embedding == "board" and self.board is not None:
            starts, ends = (self.board.action_squares + 1).unbind(-1)  # BOS is at 0
            products = self.start_square(hidden) @ self.end_square(hidden).transpose(1, 2)
            logits = logits + products[:, starts, ends].float() * self.config.hidden_size**-0.5
        loss = None
        if labels is not None:
            if num_items_in_batch is None:
                num_items_in_batch = (labels != -100).sum().clamp(min=1)
            loss = nn.functional.cross_entropy(logits, labels, reduction="sum") / num_items_in_batch
        return MovePredictionOutput(loss=loss, logits=logits, hidden_states=hidden_states)


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

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool = False,
    ) -> TokenValueOutput:
        """Value every token of the vocabulary as the successor of each of `input_ids` (batch, length).

        With `cache`, which `use_cache` returns, `input_ids` are only the new tokens. `attention_mask`
        (batch, length, with that of the cache) is 0 at padding, on either side. `logits_to_keep` gives the
        positions to value: the last n (an int, 0 for all) or those of a tensor (kept,).
        """
        outputs = self.model(
            input_ids,
            cache=cache,
            use_cache=use_cache,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.head(outputs.last_hidden_state[:, kept])
        logits = logits.unflatten(-1, (self.config.vocab_size, self.value_loss.num_outputs))
        return TokenValueOutput(
            logits=logits,
            value=self.value_loss.value(logits),
            cache=outputs.cache,
            hidden_states=outputs.hidden_states,
        )


ValueTransformerModel.register_for_auto_class("AutoModel")
ValueTransformerForActionValue.register_for_auto_class("AutoModel")
ValueTransformerForStateValue.register_for_auto_class("AutoModel")
ValueTransformerForMovePrediction.register_for_auto_class("AutoModel")
ValueTransformerForTokenValue.register_for_auto_class("AutoModel")
