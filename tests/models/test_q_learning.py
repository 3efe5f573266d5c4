"""Offline Q-learning over tokens: the equations, term by term, and the exact values of a toy game."""

import itertools
import math
from statistics import fmean

import numpy as np
import pytest
import torch

from data.wordle.rules import ALL_GREEN, feedback_codes, letters_of
from data.wordle.token_games import TokenGames
from data.wordle.word_trie import WordTrie
from models.modeling_value_transformer import TokenValueOutput
from models.q_learning import QLearning
from models.tokenization_wordle import END_OF_ACTION, TOKENS
from models.value_losses import VALUE_LOSSES, make_value_loss


DISCOUNT = 0.9
LOSSES = [name for name in VALUE_LOSSES if name != "one_hot"]


def outputs_of(logits: torch.Tensor, value_loss) -> TokenValueOutput:
    return TokenValueOutput(logits=logits, value=value_loss.value(logits))


def random_case(value_loss):
    """Two sequences of 4 and 2 actions over 5 tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 4, 5, value_loss.num_outputs)
    online = torch.randn(shape, generator=generator).requires_grad_()
    target = torch.randn(shape, generator=generator)
    actions = torch.tensor([[1, 4, 0, 2], [3, 3, -100, -100]])
    rewards = torch.tensor([[0.0, -1, 0, -1], [0.5, 0, 0, 0]])
    legal = torch.rand((2, 4, 5), generator=generator) < 0.5
    legal[..., 2] = True
    return online, target, actions, rewards, legal


def targets_by_hand(kind, double, q, q_target, actions, rewards, legal) -> list[list[float]]:
    rows = []
    for row in range(2):
        length = int((actions[row] >= 0).sum())
        targets = []
        for i in range(length):
            if kind == "monte_carlo":
                targets.append(sum(DISCOUNT ** (j - i) * rewards[row, j].item() for j in range(i, length)))
                continue
            y = rewards[row, i].item()
            if i + 1 < length:
                allowed = [a for a in range(5) if legal is None or legal[row, i + 1, a]]
                chooser = q if double else q_target
                best = max(allowed, key=lambda a: chooser[row, i + 1, a].item())
                following = int(actions[row, i + 1]) if kind == "sarsa" else best
                y += DISCOUNT * q_target[row, i + 1, following].item()
            targets.append(y)
        rows.append(targets)
    return rows


@pytest.mark.parametrize("with_legal", [False, True])
@pytest.mark.parametrize(
    ("kind", "double"),
    [("q_learning", False), ("q_learning", True), ("sarsa", False), ("monte_carlo", False)],
)
@pytest.mark.parametrize("name", ["mse", "mse_softmax", "two_hot", "hl_gauss"])
def test_the_loss_is_that_of_the_equations(name, kind, double, with_legal):
    value_loss = make_value_loss(name, value_min=-3, value_max=2, num_bins=11)
    online, target, actions, rewards, legal = random_case(value_loss)
    legal = legal if with_legal else None
    objective = QLearning(
        value_loss, target=kind, discount=DISCOUNT, alpha=0.3, temperature=0.7, double=double
    )
    result = objective.loss(
        outputs_of(online, value_loss), actions, rewards, lambda: outputs_of(target, value_loss), legal
    )
    q, q_target = value_loss.value(online).detach(), value_loss.value(target)
    rows = targets_by_hand(kind, double, q, q_target, actions, rewards, legal)
    differences, conservative = [], []
    for row, i in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]:
        a = int(actions[row, i])
        differences.append(value_loss.loss(online[row, i, a], torch.tensor(rows[row][i])).item())
        exponentials = [math.exp(q[row, i, b].item() / 0.7) for b in range(5)]
        conservative.append(math.log(sum(exponentials)) - q[row, i, a].item() / 0.7)
    assert result.temporal_difference.item() == pytest.approx(np.mean(differences), abs=1e-5)
    assert result.conservative.item() == pytest.approx(np.mean(conservative), abs=1e-5)
    expected = np.mean(differences) + 0.3 * np.mean(conservative)
    assert result.total.item() == pytest.approx(expected, abs=1e-5)
    assert result.target.item() == pytest.approx(np.mean([*rows[0], *rows[1]]), abs=1e-5)


@pytest.mark.parametrize("kind", ["q_learning", "sarsa"])
def test_c51_learns_the_projected_distribution_of_the_next_action(kind):
    value_loss = make_value_loss("c51", value_min=-3, value_max=2, num_bins=11)
    online, target, actions, rewards, _ = random_case(value_loss)
    objective = QLearning(value_loss, target=kind, discount=DISCOUNT, alpha=0)
    result = objective.loss(
        outputs_of(online, value_loss), actions, rewards, lambda: outputs_of(target, value_loss)
    )
    expected = []
    for row, i in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]:
        is_last = (row, i) in [(0, 3), (1, 1)]
        following = torch.full((11,), 1 / 11)
        if not is_last:
            greedy = int(value_loss.value(target)[row, i + 1].argmax())
            a = greedy if kind == "q_learning" else int(actions[row, i + 1])
            following = target[row, i + 1, a].softmax(-1)
        projected = value_loss.project(following, rewards[row, i], 0 if is_last else DISCOUNT)
        log_probs = online[row, i, int(actions[row, i])].log_softmax(-1)
        expected.append(-(projected * log_probs).sum().item())
    assert result.temporal_difference.item() == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "double"),
    [("q_learning", False), ("q_learning", True), ("sarsa", False), ("monte_carlo", False)],
)
@pytest.mark.parametrize("name", LOSSES)
def test_a_sequence_has_the_loss_of_its_transitions(name, kind, double):
    value_loss = make_value_loss(name, value_min=-3, value_max=2, num_bins=11)
    online, target, actions, rewards, _ = random_case(value_loss)
    objective = QLearning(value_loss, target=kind, discount=DISCOUNT, alpha=0.3, double=double)
    expected = objective.loss(
        outputs_of(online, value_loss), actions, rewards, lambda: outputs_of(target, value_loss)
    )
    rows = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 3, 0, 1])
    following = rows[0], torch.tensor([1, 2, 3, 3, 1, 1])
    discounts = DISCOUNT * torch.tensor([1.0, 1, 1, 0, 1, 0])
    first, second = targets_by_hand("monte_carlo", False, None, None, actions, rewards, None)
    returns = torch.tensor(first + second)
    found = objective.transition_loss(
        outputs_of(online[rows], value_loss),
        actions[rows],
        returns if kind == "monte_carlo" else rewards[rows],
        discounts,
        lambda: outputs_of(target[following], value_loss),
        next_online=value_loss.value(online[following]),
        next_actions=actions[following],
    )
    for name_of_mean, mean in vars(expected).items():
        torch.testing.assert_close(getattr(found, name_of_mean), mean, msg=name_of_mean)


@pytest.mark.parametrize("name", LOSSES)
def test_behavior_cloning_is_cross_entropy_over_the_tokens(name):
    value_loss = make_value_loss(name, value_min=-3, value_max=2, num_bins=11)
    online, _, actions, rewards, _ = random_case(value_loss)
    objective = QLearning(value_loss, target="behavior_cloning", alpha=1, temperature=0.5)
    result = objective.loss(outputs_of(online, value_loss), actions, rewards)
    q = value_loss.value(online).reshape(-1, 5) / 0.5
    expected = torch.nn.functional.cross_entropy(q, actions.reshape(-1), ignore_index=-100)
    torch.testing.assert_close(result.total, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_gets_no_gradient_and_targets_none(name):
    value_loss = make_value_loss(name, value_min=-3, value_max=2, num_bins=11)
    online, target, actions, rewards, _ = random_case(value_loss)
    target.requires_grad_()
    objective = QLearning(value_loss, discount=DISCOUNT, alpha=0.3)
    objective.loss(
        outputs_of(online, value_loss), actions, rewards, lambda: outputs_of(target, value_loss)
    ).total.backward()
    assert target.grad is None
    assert (online.grad[1, 2:] == 0).all() and (online.grad[1, :2] != 0).any()


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize(
    ("name", "sigma"), [("mse", None), ("hl_gauss", 0.3), ("hl_gauss", 0.8), ("two_hot", None)]
)
def test_conservative_term_moves_values_as_the_equation_says(name, sigma, matched):
    """One state, two actions, of which one is nine times as frequent; both return −2.1."""
    value_loss = make_value_loss(name, value_min=-8, value_max=4, num_bins=61, sigma=sigma)
    objective = QLearning(value_loss, target="monte_carlo", alpha=0.5, temperature=0.4, matched=matched)
    actions = torch.tensor([[0]] * 9 + [[1]])
    rewards = torch.full((10, 1), -2.1)
    table = torch.zeros(2, value_loss.num_outputs, requires_grad=True)
    # Matched, the gradient is not that of the loss, which rules out a line search.
    optimizer = torch.optim.Adam([table], lr=0.1)
    for step in range(1000):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 1000)
        optimizer.zero_grad()
        output = outputs_of(table.expand(10, 1, *table.shape), value_loss)
        objective.loss(output, actions, rewards).total.backward()
        optimizer.step()
    q = value_loss.value(table.detach())
    policy = torch.softmax(q / 0.4, dim=0)
    has_bins = name != "mse"
    variance = value_loss.variance(table.detach()) if has_bins and not matched else torch.tensor(0.5)
    moved = variance * 0.5 / 0.4 * (1 - policy / torch.tensor([0.9, 0.1]))
    torch.testing.assert_close(q - -2.1, moved, rtol=0.01, atol=1e-3)
    assert q[0] > -2.1 > q[1]


def test_matched_cql_is_finite_for_predictions_without_variance():
    value_loss = make_value_loss("two_hot", value_min=-3, value_max=2, num_bins=6)
    logits = torch.zeros(1, 1, 2, 6)
    logits[..., 0] = 200  # all of the probability
    logits.requires_grad_()
    objective = QLearning(value_loss, target="monte_carlo", matched=True)
    actions, rewards = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1)
    loss = objective.loss(outputs_of(logits, value_loss), actions, rewards).total
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "td3"}, "target must be one of q_learning, sarsa"),
        ({"target": "sarsa", "double": True}, "double is a variant of q_learning"),
        ({"target": "behavior_cloning", "alpha": 0}, "alpha must not be 0"),
        ({"target": "behavior_cloning", "matched": True}, "no value loss that CQL's term"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    value_loss = make_value_loss("mse", value_min=-3, value_max=2, num_bins=11)
    with pytest.raises(ValueError, match=message):
        QLearning(value_loss, **options)


class ToyGame:
    """All games of two turns on four words, each as often as uniform guesses meet it, and exact values.

    A state is what the agent read: earlier guesses with their feedback, and the letters of the next.
    """

    NUM_TURNS = 2
    WORDS = ("bills", "fills", "flips", "pills")

    def __init__(self):
        self.letters = letters_of(self.WORDS)
        self.table = feedback_codes(self.letters[None], self.letters[:, None], "official")
        games = []
        for secret in range(4):
            for guesses in itertools.product(range(4), repeat=self.NUM_TURNS):
                num_turns = guesses.index(secret) + 1 if secret in guesses else self.NUM_TURNS
                games.append((secret, guesses, num_turns))
        self.secrets = np.array([secret for secret, _, _ in games])
        self.guesses = np.array([guesses for _, guesses, _ in games])
        self.num_turns = np.array([num_turns for _, _, num_turns in games])
        patterns = self.table[self.guesses, self.secrets[:, None]]
        rewards = np.where(patterns == ALL_GREEN, 0, -1).astype(np.float32)
        trie = WordTrie(self.letters)
        data = TokenGames(self.letters[self.guesses], patterns, rewards, self.num_turns, trie)
        batch = {name: torch.from_numpy(array) for name, array in data.batch(np.arange(len(games))).items()}
        self.actions, self.rewards, self.legal = batch["actions"], batch["rewards"], batch["legal"]
        self.states = self._number_states(batch["input_ids"], batch["positions"])
        self.num_states = int(self.states.max()) + 1

    @staticmethod
    def _number_states(input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        numbers: dict[tuple, int] = {}
        rows = [
            [numbers.setdefault(tuple(row[: position + 1]), len(numbers)) for position in positions.tolist()]
            for row in input_ids.tolist()
        ]
        return torch.tensor(rows)

    def value_of_belief(self, secrets: frozenset[int], turn: int, choose) -> float:
        """The discounted return before the first letter of a turn; `choose` is max, or the mean."""
        if turn == self.NUM_TURNS or not secrets:
            return 0.0
        return DISCOUNT**5 * choose([self.value_of_guess(secrets, turn, guess, choose) for guess in range(4)])

    def value_of_guess(self, secrets: frozenset[int], turn: int, guess: int, choose) -> float:
        """The return from `</a>` on."""
        total = 0.0
        for secret in secrets:
            code = self.table[guess, secret]
            if code != ALL_GREEN:
                left = frozenset(other for other in secrets if self.table[guess, other] == code)
                total += -1 + DISCOUNT * self.value_of_belief(left, turn + 1, choose)
        return total / len(secrets)

    def exact_values(self, choose) -> torch.Tensor:
        """Q of every action of every game, (games, actions), NaN in the padding."""
        values = torch.full(self.actions.shape, math.nan)
        for row, (secret, guesses, num_turns) in enumerate(
            zip(self.secrets, self.guesses, self.num_turns, strict=True)
        ):
            secrets = frozenset(range(4))
            for turn in range(num_turns):
                for place in range(6):
                    prefix = self.WORDS[guesses[turn]][: place + 1]
                    going_on = [guess for guess, word in enumerate(self.WORDS) if word.startswith(prefix)]
                    q = choose([self.value_of_guess(secrets, turn, guess, choose) for guess in going_on])
                    values[row, 6 * turn + place] = DISCOUNT ** (5 - place) * q
                code = self.table[guesses[turn], secret]
                secrets = frozenset(s for s in secrets if self.table[guesses[turn], s] == code)
        return values


@pytest.fixture(scope="module")
def toy() -> ToyGame:
    return ToyGame()


def learn_table(toy: ToyGame, value_loss, objective: QLearning) -> torch.Tensor:
    """Fit a table of outputs for every state and token, anew for every target; return Q of every action."""
    tokens = sorted({*toy.actions[toy.actions >= 0].tolist()})
    assert END_OF_ACTION in tokens and max(tokens) < len(TOKENS)
    actions = torch.searchsorted(torch.tensor(tokens), toy.actions)
    actions[toy.actions < 0] = -100
    legal = toy.legal[..., tokens]
    table = torch.zeros(toy.num_states, len(tokens), value_loss.num_outputs)
    num_targets = toy.actions.shape[1] + 1 if objective.needs_target_network else 1
    num_steps, peak = 100, 0.5
    for _ in range(num_targets):
        target = outputs_of(table[toy.states], value_loss)
        table = torch.zeros_like(table, requires_grad=True)
        optimizer = torch.optim.Adam([table], eps=1e-15)
        for step in range(num_steps):
            optimizer.param_groups[0]["lr"] = peak * (1 - step / num_steps) ** 2
            output = outputs_of(table[toy.states], value_loss)
            loss = objective.loss(output, actions, toy.rewards, lambda target=target: target, legal)
            loss.total.backward()
            optimizer.step()
            optimizer.zero_grad()
        table = table.detach()
    q = value_loss.value(table[toy.states])  # (games, actions, tokens)
    return q.gather(2, actions.clamp(min=0)[..., None]).squeeze(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target"),
    # mse_sigmoid reaches the ends of its range, where some values are, only in the limit.
    [(name, "q_learning") for name in LOSSES if name != "mse_sigmoid"]
    + [("mse", "sarsa"), ("hl_gauss", "monte_carlo")],
)
def test_the_values_of_a_toy_game_are_found(toy, name, target):
    """Those of optimal play by Q-learning, those of the uniform player of the data by the others."""
    value_loss = make_value_loss(name, value_min=-4, value_max=1, num_bins=21)
    objective = QLearning(value_loss, target=target, discount=DISCOUNT, alpha=0)
    learnt = learn_table(toy, value_loss, objective)
    expected = toy.exact_values(max if target == "q_learning" else fmean)
    is_action = toy.actions >= 0
    error = (learnt - expected)[is_action].abs().max()
    assert error < 0.02, error
