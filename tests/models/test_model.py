"""The value transformer: parity with searchless_chess, what may see what, and the ways to run and load it."""

import json
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Trainer, TrainingArguments

from models.chess_tokens import ACTIONS
from models.configuration_value_transformer import ATTENTIONS, ValueTransformerConfig
from models.modeling_value_transformer import (
    ValueTransformerForActionValue,
    ValueTransformerForMovePrediction,
    ValueTransformerForStateValue,
    ValueTransformerForTokenValue,
    ValueTransformerModel,
)
from models.tokenization_chess import ChessTokenizer
from models.value_losses import VALUE_LOSSES
from scripts.searchless_parameters import convert
from tests.support.commands import REPOSITORY, run_code
from tests.support.wordle_models import tiny_token_model


FIXTURES = Path(__file__).parents[1] / "fixtures/searchless_chess"
POSITION = "r3k2r/pp1n1ppp/2p1pn2/q2p1b2/1b1P1B2/2N1PN2/PPPQBPPP/R3K2R b KQkq - 6 9"


def small_model(kind: type = ValueTransformerForActionValue, **settings) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_bins": 16}
    sizes["board_rotation"] = True
    return kind(ValueTransformerConfig(**sizes | settings)).eval()


def with_start(boards: torch.Tensor) -> torch.Tensor:
    """The states that the backbone takes: BOS first."""
    return torch.cat([torch.zeros_like(boards[:, :1]), boards], dim=1)


def random_inputs(num_actions: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    boards = torch.randint(31, (3, 77), generator=generator)
    return boards, torch.randint(1968, (3, num_actions), generator=generator)


def legal_moves(board: chess.Board) -> list[str]:
    return [move.uci() for move in board.legal_moves]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_full_attention_reproduces_searchless_chess(attention):
    model = convert(dict(np.load(FIXTURES / "params.npz")), num_attention_heads=4)
    model.set_attn_implementation(attention)
    cases = [json.loads(line) for line in (FIXTURES / "cases.jsonl").open()]
    tokenizer = ChessTokenizer(orient=False)
    inputs = tokenizer.encode_positions(
        [c["fen"] for c in cases], [[c["move"]] for c in cases], return_tensors="pt"
    )
    with torch.no_grad():
        log_probs = model(**inputs).logits[:, 0].log_softmax(-1)
    expected = torch.tensor([case["log_probs"] for case in cases])
    torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-5)


def test_conversion_refuses_parameters_that_are_missing_or_left_over():
    params = dict(np.load(FIXTURES / "params.npz"))
    with pytest.raises(ValueError, match="unexpected parameters extra/w"):
        convert(params | {"extra/w": np.zeros(3)}, num_attention_heads=4)
    del params["linear_6//b"]
    with pytest.raises(ValueError, match="'linear_6/b' is missing"):
        convert(params, num_attention_heads=4)


@pytest.mark.parametrize(("size", "layers", "width"), [(9.0, 8, 256), (136.5, 8, 1024), (270.7, 16, 1024)])
def test_sizes_are_the_published_ones(size, layers, width):
    config = ValueTransformerConfig(num_hidden_layers=layers, hidden_size=width)
    with torch.device("meta"):
        model = ValueTransformerForActionValue(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(size, abs=0.06)


@pytest.mark.parametrize(("given", "expected"), [(None, 0.02), (0.3, 0.3)])
def test_positions_are_initialised_at_their_own_scale(given, expected):
    positions = small_model(position_initializer_range=given).model.position_embedding.weight
    assert positions.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num_tokens", [1, 2, 3])
@pytest.mark.parametrize("action_embedding", ["board", "table"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_action_does_not_depend_on_the_other_actions(attention, action_embedding, num_tokens):
    model = small_model(attention=attention, action_embedding=action_embedding, tokens_per_action=num_tokens)
    boards, actions = random_inputs()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    padding = torch.full((3, 5), -100)
    with torch.no_grad():
        logits = model(boards, actions).logits
        permuted = model(boards, actions[:, order]).logits
        removed = model(boards, actions[:, :4]).logits
        added = model(boards, torch.cat([actions, actions.flip(1)], dim=1)).logits
        padded = model(boards, torch.cat([actions, padding], dim=1)).logits
        alone = [model(boards[:1], actions[:1, [column]]).logits for column in range(9)]
    for other, expected in (
        (permuted, logits[:, order]),
        (removed, logits[:, :4]),
        (added, torch.cat([logits, logits.flip(1)], dim=1)),
        (padded[:, :9], logits),
        (torch.cat(alone, dim=1), logits[:1]),
    ):
        torch.testing.assert_close(other, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_action_depends_on_every_board_token(attention):
    model = small_model(attention=attention, action_embedding="table")
    boards, actions = random_inputs()
    with torch.no_grad():
        logits = model(boards, actions).logits
        for place in range(77):
            changed = boards.clone()
            changed[:, place] = (changed[:, place] + 1) % 31
            assert ((model(changed, actions).logits - logits).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("with_actions", [True, False])
def test_causal_never_lets_a_later_token_change_an_earlier_one(with_actions, kernel):
    model = small_model(attention="causal", action_embedding="table").model
    model.set_attn_implementation(kernel)
    boards, actions = random_inputs()
    states = with_start(boards)
    changed = states.clone()
    changed[:, 40:] = (changed[:, 40:] + 7) % 31
    inputs = (actions,) if with_actions else ()
    with torch.no_grad():
        before = model(states, *inputs).last_hidden_state
        after = model(changed, *inputs).last_hidden_state
    torch.testing.assert_close(before[:, :40], after[:, :40], rtol=0, atol=1e-6)
    assert ((before[:, 40:] - after[:, 40:]).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("attention", ["full", "prefix"])
def test_in_full_and_prefix_a_later_token_changes_earlier_ones(attention):
    model = small_model(attention=attention).model
    states = with_start(random_inputs()[0])
    changed = states.clone()
    changed[:, 77] = (changed[:, 77] + 1) % 31
    with torch.no_grad():
        difference = model(states).last_hidden_state - model(changed).last_hidden_state
    assert (difference[:, :77].abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("attention", ["prefix", "causal"])
def test_the_board_does_not_see_the_actions(attention):
    model = small_model(attention=attention).model
    boards, actions = random_inputs()
    states = with_start(boards)
    with torch.no_grad():
        torch.testing.assert_close(
            model(states, actions).last_hidden_state[:, :78],
            model(states).last_hidden_state,
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_sdpa_and_eager_attention_agree(attention):
    model = small_model(attention=attention)
    boards, actions = random_inputs()
    results = []
    for kernel in ("sdpa", "eager"):
        model.set_attn_implementation(kernel)
        model.zero_grad()
        output = model(boards, actions, labels=torch.full((3, 9), 0.3))
        output.loss.backward()
        results.append((output.logits.detach(), model.model.blocks[0].attention.query.weight.grad.clone()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_activation_checkpointing_changes_no_gradient(attention):
    model = small_model(attention=attention).train()
    boards, actions = random_inputs()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.is_activation_checkpointing
        model.zero_grad()
        model(boards, actions, labels=torch.full((3, 9), 0.3)).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_a_position_and_its_colour_mirrored_twin_have_identical_values():
    model, tokenizer = small_model(), ChessTokenizer()
    board = chess.Board(POSITION)
    moves = legal_moves(board)
    twins = [move.translate(str.maketrans("12345678", "87654321")) for move in moves]
    inputs = tokenizer.encode_positions(
        [board.fen(), board.mirror().fen()], [moves, twins], return_tensors="pt"
    )
    with torch.no_grad():
        values = model(**inputs).value
    assert torch.equal(values[0], values[1])


def test_board_action_embedding_knows_what_stands_on_the_squares():
    """The same move of another piece differs before any attention; with a table it does not."""
    boards, actions = random_inputs(1)
    states = with_start(boards)
    changed = states.clone()
    start = small_model().board.action_positions(actions)[:, 0, 0]
    changed[torch.arange(3), start] = (changed[torch.arange(3), start] + 1) % 31
    for action_embedding, depends in (("board", True), ("table", False)):
        model, hidden = small_model(action_embedding=action_embedding, num_hidden_layers=0), []
        for board in (states, changed):
            hidden.append(model._run(board, actions, None, False)[0][:, -1])
        assert torch.equal(*hidden) is not depends


@pytest.mark.parametrize("changed_end", [0, 1])
def test_with_two_tokens_one_knows_where_a_move_starts_and_one_where_it_ends(changed_end):
    boards, actions = random_inputs(1)
    states = with_start(boards)
    model = small_model(tokens_per_action=2, num_hidden_layers=0)
    changed = states.clone()
    square = model.board.action_positions(actions)[:, 0, changed_end]
    changed[torch.arange(3), square] = (changed[torch.arange(3), square] + 1) % 31
    outputs = (model(s[:, 1:], actions, output_hidden_states=True) for s in (states, changed))
    before, after = (output.hidden_states[-1][:, -2:] for output in outputs)
    assert before.shape == (3, 2, 32)
    same = [torch.equal(before[:, slot], after[:, slot]) for slot in (0, 1)]
    assert same == [changed_end == 1, changed_end == 0]
    assert not torch.allclose(before[:, 0], before[:, 1])


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_every_value_loss_trains_the_model(name):
    model = small_model(value_loss=name).train()
    boards, actions = random_inputs()
    actions[1, 5:] = -100
    labels = torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        output = model(boards, actions, labels=labels)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    is_move = actions >= 0
    assert losses[-1] < losses[0]
    assert (output.value - labels)[is_move].abs().mean() < 0.05
    assert output.value.dtype == torch.float32


def test_a_batch_of_nothing_but_padding_has_no_loss():
    for attention in ATTENTIONS:
        output = small_model(attention=attention)(
            random_inputs()[0], torch.full((3, 2), -100), labels=torch.zeros(3, 2)
        )
        assert output.loss == 0 and output.value.isfinite().all()


def test_loss_ignores_padded_actions():
    model = small_model()
    boards, actions = random_inputs()
    padded = torch.cat([actions, torch.full((3, 4), -100)], dim=1)
    labels = torch.rand(3, 13, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = model(boards, actions, labels=labels[:, :9]).loss
        torch.testing.assert_close(model(boards, padded, labels=labels).loss, loss)


def test_bfloat16_weights_still_decode_in_float32():
    model = small_model().bfloat16()
    boards, actions = random_inputs()
    with torch.no_grad():
        output = model(boards, actions)
    assert output.logits.dtype == torch.bfloat16 and output.value.dtype == torch.float32
    torch.testing.assert_close(output.value, model.value_loss.value(output.logits.float()))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_autocast_does_not_round_values_that_are_the_outputs_themselves(attention):
    model = small_model(attention=attention, value_loss="mse")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        values = [model(*random_inputs()).value, model(*random_inputs(num_actions=1)).value]
        if attention == "causal":
            values.append(small_token_model(value_loss="mse")(torch.arange(30)[None]).value)
    for value in values:
        assert (value != value.bfloat16()).float().mean() > 0.9


def test_full_attention_refuses_several_actions_in_one_sequence():
    backbone: ValueTransformerModel = small_model(attention="full").model
    with pytest.raises(ValueError, match="one action per sequence"):
        backbone(*random_inputs())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "window"}, "attention must be one of full, prefix, causal"),
        ({"action_embedding": "square"}, "action_embedding must be one of board, table"),
        ({"tokens_per_action": 0}, "tokens_per_action must be at least 1"),
        ({"num_attention_heads": 3}, "do not divide"),
        ({"num_attention_heads": 1}, "an even number of heads of even width"),
        ({"hidden_size": 36}, "an even number of heads of even width"),
        ({"value_loss": "huber"}, "unknown value loss"),
    ],
)
def test_impossible_configurations_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small_model(**settings)


LOAD_ELSEWHERE = """
import sys, torch
from transformers import AutoModel, AutoTokenizer
assert "models" not in sys.modules
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
inputs = tokenizer.encode_positions([sys.argv[2]], [sys.argv[3].split()], return_tensors="pt")
with torch.no_grad():
    print(model(**inputs).value[0].tolist())
"""


@pytest.mark.slow
def test_saved_models_load_by_remote_code_in_a_fresh_process_elsewhere(tmp_path):
    model, tokenizer = small_model(value_loss="hl_gauss", match_mean=True), ChessTokenizer()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    moves = legal_moves(chess.Board(POSITION))
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = [tmp_path / "model", POSITION, " ".join(moves)]
    result = run_code(LOAD_ELSEWHERE, *arguments, folder=elsewhere, **environment)
    assert result.returncode == 0, result.stderr
    inputs = tokenizer.encode_positions([POSITION], [moves], return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).value[0]
    torch.testing.assert_close(torch.tensor(json.loads(result.stdout)), expected, rtol=0, atol=1e-6)


LOAD_BOTH = """
import sys
from transformers import AutoModel
for folder in sys.argv[1:]:
    print(type(AutoModel.from_pretrained(folder, trust_remote_code=True)).__name__)
"""


@pytest.mark.slow
def test_models_of_all_kinds_load_in_one_process_in_any_order(tmp_path):
    """Their code is the same, and with it their class of configurations."""
    small_model().save_pretrained(tmp_path / "chess/model")
    small_model(ValueTransformerForStateValue).save_pretrained(tmp_path / "states/model")
    small_model(ValueTransformerForMovePrediction).save_pretrained(tmp_path / "moves/model")
    tiny_token_model().save_pretrained(tmp_path / "wordle/model")
    kinds = {
        "chess": "ValueTransformerForActionValue",
        "states": "ValueTransformerForStateValue",
        "moves": "ValueTransformerForMovePrediction",
        "wordle": "ValueTransformerForTokenValue",
    }
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    for order in (["chess", "wordle", "states", "chess", "moves"], ["wordle", "moves", "chess"]):
        folders = [tmp_path / name / "model" for name in order]
        result = run_code(LOAD_BOTH, *folders, folder=tmp_path, **environment)
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == [kinds[name] for name in order]


def test_reloading_gives_the_same_weights_and_settings(tmp_path):
    model = small_model(value_loss="two_hot", value_min=-1.0, num_bins=21)
    model.save_pretrained(tmp_path)
    loaded = ValueTransformerForActionValue.from_pretrained(tmp_path)
    for (name, tensor), (_, other) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert torch.equal(tensor, other), name
    assert loaded.config.to_dict() == model.config.to_dict() | {
        key: loaded.config.to_dict()[key] for key in ("_name_or_path",) if key in loaded.config.to_dict()
    }
    assert len(ACTIONS) == loaded.config.vocab_size


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_value_of_a_state_depends_on_every_token_and_its_loss_on_the_labels(attention):
    model = small_model(ValueTransformerForStateValue, attention=attention)
    boards, _ = random_inputs()
    labels = torch.tensor([0.1, 0.5, 0.9])
    output = model(boards, labels=labels)
    assert output.value.shape == (3,) and output.logits.shape == (3, 16)
    torch.testing.assert_close(output.loss, model.value_loss.loss(output.logits, labels))
    for token in (0, 40, 76):
        changed = boards.clone()
        changed[:, token] = (changed[:, token] + 1) % 31
        assert (model(changed).value != output.value).all()


@pytest.mark.parametrize("embedding", ["board", "table"])
def test_a_policy_has_a_logit_for_every_action_and_the_cross_entropy_of_the_move(embedding):
    model = small_model(ValueTransformerForMovePrediction, action_embedding=embedding)
    boards, actions = random_inputs()
    output = model(boards, labels=actions[:, 0])
    assert output.logits.shape == (3, len(ACTIONS))
    losses = -output.logits.log_softmax(-1).gather(1, actions[:, :1])
    torch.testing.assert_close(output.loss, losses.mean())
    # A label of -100 does not count.
    partial = model(boards, labels=actions[:, 0].index_fill(0, torch.tensor([0]), -100))
    torch.testing.assert_close(partial.loss, losses[1:].mean())


def test_with_board_embedding_a_policy_adds_the_product_of_the_two_squares():
    """Promotions on the same squares have the same product."""
    model = small_model(ValueTransformerForMovePrediction)
    boards, _ = random_inputs()
    hidden = model.model(with_start(boards), rotation=model.board.rotation(78)).last_hidden_state
    products = model(boards).logits - model.head(hidden[:, -1])
    moves = ["a7a8q", "a7a8n", "e2e4", "g1f3"]
    found = products[:, [ACTIONS.index(move) for move in moves]]
    torch.testing.assert_close(found[:, 0], found[:, 1])
    # The squares of e2e4 are tokens 54 and 38 after BOS and the side to move.
    start, end = hidden[:, 2 + 8 * 6 + 4], hidden[:, 2 + 8 * 4 + 4]
    expected = (model.start_square(start) * model.end_square(end)).sum(-1) / 32**0.5
    torch.testing.assert_close(found[:, 2], expected)


def small_token_model(**settings) -> ValueTransformerForTokenValue:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_bins": 16}
    language = {
        "vocab_size": 35,
        "attention": "causal",
        "action_embedding": "table",
        "position_period": 12,
    }
    return ValueTransformerForTokenValue(ValueTransformerConfig(**sizes | language | settings)).eval()


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_reading_in_pieces_with_a_cache_gives_the_values_of_reading_at_once(kernel):
    model = small_token_model()
    model.set_attn_implementation(kernel)
    tokens = torch.randint(35, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(tokens)
        cache, pieces, values = None, [], []
        for start, end in ((0, 1), (1, 13), (13, 14), (14, 40)):
            output = model(tokens[:, start:end], cache=cache, use_cache=True)
            cache = output.cache
            pieces.append(output.logits)
            values.append(output.value)
    assert cache.get_seq_length() == 40
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat(values, dim=1), expected.value, rtol=0, atol=1e-6)


def test_the_cache_works_without_a_warning():
    program = """if True:
        import warnings
        warnings.simplefilter("error")
        import torch
        from models.modeling_value_transformer import ValueTransformerForTokenValue as Model
        config = Model.config_class(vocab_size=35, max_position_embeddings=74, hidden_size=32,
            num_hidden_layers=1, num_attention_heads=2, attention="causal", action_embedding="table")
        model, tokens = Model(config).eval(), torch.zeros(1, 5, dtype=torch.long)
        first = model(tokens, use_cache=True)
        print(model(tokens, cache=first.cache).value.shape)
    """
    result = run_code(program, folder=REPOSITORY)
    assert (result.stdout, result.stderr) == ("torch.Size([1, 5, 35])\n", "")


def test_values_are_kept_where_they_are_wanted():
    model = small_token_model()
    tokens = torch.randint(35, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = model(tokens).value
        assert values.shape == (3, 20, 35)
        torch.testing.assert_close(model(tokens, logits_to_keep=2).value, values[:, -2:])
        places = torch.tensor([3, 0, 7])
        torch.testing.assert_close(model(tokens, logits_to_keep=places).value, values[:, places])


def test_what_a_cache_cannot_do_is_refused():
    with pytest.raises(ValueError, match="only causal"):
        small_model(attention="prefix").model(torch.zeros(1, 3, dtype=torch.long), use_cache=True)
    with pytest.raises(ValueError, match="need causal attention"):
        small_token_model(attention="prefix")
    model = small_token_model(max_position_embeddings=10)
    with pytest.raises(ValueError, match="11 tokens, but the model has 10 positions"):
        model(torch.zeros(1, 11, dtype=torch.long))
    cache = model(torch.zeros(1, 4, dtype=torch.long), use_cache=True).cache
    with pytest.raises(ValueError, match="not after cached keys"):
        model.model(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long), cache=cache)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_padded_states_have_the_values_of_those_alone(side, kernel):
    def pad(tokens, filling):
        padding = torch.full((1, 5), filling)
        return torch.cat([padding, tokens] if side == "left" else [tokens, padding], dim=1)

    generator = torch.Generator().manual_seed(0)
    long, short = (torch.randint(31, (1, length), generator=generator) for length in (13, 8))
    tokens = torch.cat([long, pad(short, 29)])
    mask = torch.cat([torch.ones(1, 13, dtype=torch.long), pad(torch.ones(1, 8, dtype=torch.long), 0)])
    kept = mask[1].bool()
    model = small_token_model(position_period=12)
    model.set_attn_implementation(kernel)
    values = model(tokens, attention_mask=mask).value
    torch.testing.assert_close(values[:1], model(long).value)
    torch.testing.assert_close(values[1:, kept], model(short).value)
    first = model(tokens[:, :9], attention_mask=mask[:, :9], use_cache=True)
    rest = model(tokens[:, 9:], attention_mask=mask, cache=first.cache).value
    torch.testing.assert_close(rest[:, kept[9:]], values[:, 9:][:, kept[9:]])

    actions = torch.randint(1968, (2, 3), generator=generator)
    for attention in ATTENTIONS:
        model = small_model(attention=attention, action_embedding="table", board_rotation=False)
        model.set_attn_implementation(kernel)
        alone = torch.cat([model(long, actions[:1]).value, model(short, actions[1:]).value])
        torch.testing.assert_close(model(tokens, actions, attention_mask=mask).value, alone)


def test_boards_have_no_padding():
    boards, actions = random_inputs()
    model, mask = small_model(), torch.ones_like(boards)
    assert torch.equal(model(boards, actions, attention_mask=mask).value, model(boards, actions).value)
    mask[0, 0] = 0
    with pytest.raises(ValueError, match="all boards have the same length"):
        model(boards, actions, attention_mask=mask)


def test_outputs_are_tuples_and_hidden_states_where_they_are_wanted():
    boards, actions = random_inputs()
    for model, inputs in ((small_model(), (boards, actions)), (small_token_model(), (boards[:, :20],))):
        output = model(*inputs, output_hidden_states=True)
        assert len(output.hidden_states) == 1 + len(model.model.blocks)
        plain = model(*inputs)
        assert plain.hidden_states is None
        torch.testing.assert_close(plain.logits, output.logits)
        values = model.head(output.hidden_states[-1][:, -output.logits.shape[1] :])
        torch.testing.assert_close(values.view_as(output.logits), output.logits)
        as_tuple = model(*inputs, return_dict=False)
        # To the bit only where the same tokens are computed: the pass with hidden states computes more.
        assert all(torch.equal(*pair) for pair in zip(as_tuple, (plain.logits, plain.value), strict=True))
    for kind in (ValueTransformerForStateValue, ValueTransformerForMovePrediction):
        model = small_model(kind, action_embedding="table")
        output = model(boards, output_hidden_states=True)
        torch.testing.assert_close(model.head(output.hidden_states[-1][:, -1]), output.logits)
        assert torch.equal(model(boards, return_dict=False)[0], model(boards).logits)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("shape", [(0, 4), (0, 0), (3, 0)])
def test_an_empty_batch_has_an_empty_result(attention, shape):
    boards = torch.zeros(shape[0], 77, dtype=torch.long)
    actions = torch.zeros(shape, dtype=torch.long)
    output = small_model(attention=attention)(boards, actions, labels=torch.zeros(shape))
    output.loss.backward()
    assert output.value.shape == shape and output.loss == 0


@pytest.mark.parametrize("kind", [ValueTransformerForStateValue, ValueTransformerForMovePrediction])
def test_an_empty_batch_of_states_has_an_empty_result(kind):
    boards = torch.zeros(0, 77, dtype=torch.long)
    labels = torch.zeros(0, dtype=torch.float if kind is ValueTransformerForStateValue else torch.long)
    output = small_model(kind)(boards, labels=labels)
    output.loss.backward()
    assert len(output.logits) == 0 and output.loss == 0


@pytest.mark.parametrize(
    "kind",
    [ValueTransformerForActionValue, ValueTransformerForStateValue, ValueTransformerForMovePrediction],
)
def test_trainer_does_not_depend_on_how_gradients_are_accumulated(kind, tmp_path):
    generator = torch.Generator().manual_seed(0)
    boards = torch.randint(31, (16, 77), generator=generator)
    actions = torch.randint(1968, (16, 9), generator=generator)
    labels = torch.rand(16, 9, generator=generator)
    padding = torch.arange(9) >= torch.arange(16)[:, None] % 9 + 1  # 1 to 9 actions per board
    columns = {"input_ids": boards}
    if kind is ValueTransformerForActionValue:
        columns |= {
            "action_ids": actions.masked_fill(padding, -100),
            "labels": labels.masked_fill(padding, -100),
        }
    else:
        columns["labels"] = labels[:, 0] if kind is ValueTransformerForStateValue else actions[:, 0]
    examples = [{name: column[row] for name, column in columns.items()} for row in range(16)]

    def update(batch_size, steps):
        model = small_model(kind)
        before = model.head.weight.detach().clone()
        settings = TrainingArguments(
            output_dir=tmp_path, per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps,
            max_steps=1, optim="sgd", learning_rate=1.0, max_grad_norm=0, lr_scheduler_type="constant",
            save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        Trainer(model, settings, train_dataset=examples, processing_class=ChessTokenizer()).train()
        return model.head.weight.detach() - before

    torch.testing.assert_close(update(4, 4), update(16, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_preferences_are_log_probabilities_over_the_actions_of_a_state(attention):
    model = small_model(attention=attention, preference_scale=0.5)
    states, actions = torch.randint(31, (2, 77)), torch.tensor([[3, 40, 500], [7, 8, -100]])
    outputs = model(states, actions)
    probs = (outputs.preference / 0.5).exp()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(2))
    assert probs[1, 2] == 0
    one_by_one = model(states[1:], actions[1:, :2])
    torch.testing.assert_close(outputs.preference[1:, :2], one_by_one.preference)
    torch.testing.assert_close(outputs.value[1:, :2], one_by_one.value)
    assert small_model(attention=attention)(states, actions).preference is None


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_last_block_may_leave_out_tokens_that_no_head_reads(attention):
    """A model that returns all hidden states computes all tokens."""
    states, actions = random_inputs()
    model = small_model(attention=attention)
    every = model(states, actions, output_hidden_states=True)
    torch.testing.assert_close(model(states, actions).logits, every.logits)
    of_state = small_model(ValueTransformerForStateValue, attention=attention)
    every = of_state(states, output_hidden_states=True)
    torch.testing.assert_close(of_state(states).logits, every.logits)
    assert every.hidden_states[-1].shape[1] == 1 + states.shape[1]
