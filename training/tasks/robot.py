"""A robot that follows instructions: offline Q-learning over the dimensions of its actions.

Sources: Chebotar et al., "Q-Transformer" (arXiv 2309.10150); Farebrother et al., "Stop Regressing" (arXiv
2403.03950), section 4.3. models/q_learning.py has the equations.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cli.errors import InputError, first_line
from configs.robot import RobotConfig
from data.hub import pin
from data.robot.episodes import read_episodes
from data.robot.examples import Decisions
from data.robot.simulator import import_simulator
from data.robot.tasks import TASK_OF_INSTRUCTION, tasks_of
from eval.robot.evaluation import play_episodes
from eval.robot.model_policy import FACTS, ModelPolicy
from models.configuration_q_transformer import QTransformerConfig
from models.modeling_q_transformer import DimensionValueOutput, QTransformer, nearest_bins
from models.observation_tokens import SentenceToken
from models.q_learning import DimensionQLearning
from models.tokenization_robot import instruction_ids, make_instruction_tokenizer
from training.card_facts import CardFacts, Metric, Result, results_of
from training.q_learning_task import QLearningTask
from training.transformer_config import sizes_and_loss


LEARNING = {
    "q_learning": "by Q-learning over the dimensions of actions",
    "n_step": "by Q-learning with the value of the next decision for every dimension of an action",
    "monte_carlo": "by regression on their returns",
    "behavior_cloning": "by imitation",
}
EVALUATION_SEED = 0
METRICS = (Metric("success_rate", "success", ".1%", "data_success_rate", "training episodes"),)

# Python of the model card.
EXAMPLE = """\
import torch
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained({load}).eval()
tokenizer, config = AutoTokenizer.from_pretrained({load}), model.config
chosen = model.choose_actions(
{observations}    input_ids=tokenizer("{instruction}", return_tensors="pt").input_ids,
)
print(chosen.actions, chosen.value.shape)"""
COMMANDS = (
    "python -m eval.robot --model {name} --episodes 100",
    "python -m eval.robot --model {name} --video robot.gif",
)


class RobotTask(QLearningTask):
    """Conservative Q-learning on a fixed set of episodes; see training/task.py for the methods.

    The constructor reads the episodes, since they give the model its sizes.
    """

    config: RobotConfig
    examples: Decisions
    objective: DimensionQLearning
    unit = "action-dimensions"
    metrics = ("td", "conservative", "target", "out_of_support")
    evaluation_columns = (("success_rate", "success", "data_success_rate"),)
    panels = (
        ("loss", "loss", None),
        ("target", "mean target", None),
        ("conservative", "conservative term", None),
        ("success_rate", "success rate", "data_success_rate"),
    )

    def __init__(self, config: RobotConfig):
        self.config, learning = config, config.q_learning
        config.data.train = pin(config.data.train)
        observation = config.model.observation
        self.episodes = read_episodes(config.data.train, with_images=observation != "states")
        if observation == "images":
            self.episodes.states = None
        elif self.episodes.states is None:
            raise InputError(f"{config.data.train} has no states: set model.observation=images")
        self.tokenizer, encoder = self._make_tokenizer()
        self.input_ids = instruction_ids(self.tokenizer, self.episodes.instructions)
        self.model = QTransformer(self._model_config(encoder))
        if encoder is not None:
            assert isinstance(self.model.instruction_tokens, SentenceToken)
            self.model.instruction_tokens.encoder.load_state_dict(encoder.state_dict())
        self.objective = DimensionQLearning(
            self.model.value_loss,
            target=learning.target,
            discount=learning.discount,
            monte_carlo_floor=learning.monte_carlo_floor,
            conservative=learning.conservative,
            alpha=learning.conservative_weight,
            temperature=learning.cql_temperature,
        )
        self.target_tau = learning.target_tau

    def _make_tokenizer(self) -> tuple[PreTrainedTokenizerBase, PreTrainedModel | None]:
        """Return the tokenizer of instructions, and the sentence encoder if there is one."""
        name = self.config.model.instruction_encoder
        if name is None:
            return make_instruction_tokenizer(self.episodes.instructions), None
        try:
            return AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise InputError(
                f"model.instruction_encoder={name} cannot be loaded: {first_line(error)}; name a model of "
                "transformers on the hub or in a folder, or null to embed words"
            ) from None

    def _model_config(self, encoder: PreTrainedModel | None) -> QTransformerConfig:
        model, episodes = self.config.model, self.episodes
        observed: dict[str, Any] = {}
        if episodes.states is not None:
            mean, std = episodes.states.mean(axis=0, dtype=np.float64), episodes.states.std(axis=0)
            std = np.where(std < 1e-6, 1.0, std)  # numbers that never change
            observed |= {
                "state_size": episodes.states.shape[1],
                "num_state_tokens": model.num_state_tokens,
                "state_mean": mean.astype(np.float32).tolist(),
                "state_std": std.astype(np.float32).tolist(),
            }
        if episodes.images is not None:
            height, width = episodes.images.shape[1:3]
            if height != width:
                raise ValueError(f"images must be square, not {width}×{height}")
            observed |= {"image_size": height, "image_encoder": model.image_encoder}
        if encoder is not None:
            observed["instruction_encoder"] = encoder.config.to_dict()
        return QTransformerConfig(
            **observed,
            **sizes_and_loss(model, self.config.value_loss),
            history=model.history,
            vocab_size=len(self.tokenizer),
            num_instruction_tokens=self.input_ids.shape[1],
            pad_token_id=self.tokenizer.pad_token_id,
            num_dimensions=episodes.actions.shape[1],
            num_action_bins=model.num_action_bins,
        )

    def load_data(self) -> None:
        """Compute the returns of the episodes."""
        data = self.config.data
        self.examples = Decisions(
            self.episodes,
            self.input_ids.numpy(),
            discount=self.config.q_learning.discount,
            history=self.config.model.history,
            reward_noise=data.reward_noise,
            only_successes=data.only_successes,
            image_shift=data.image_shift,
            seed=self.config.seed,
        )
        self.data_success_rate = float(self.episodes.successes.mean())
        instructions = self.episodes.success_by_instruction()
        self.task_names = [TASK_OF_INSTRUCTION[text] for text in instructions if text in TASK_OF_INSTRUCTION]
        if self.can_evaluate:
            import_simulator()
            try:
                tasks_of(instructions)
                self.policy = ModelPolicy(self.model, self.tokenizer, self.episodes.camera, self.episodes.fps)
            except InputError as error:
                raise InputError(
                    f"{data.train}: {error}: set evaluation.episodes=0 to train without evaluations"
                ) from None

    @property
    def can_evaluate(self) -> bool:
        return self.config.evaluation.episodes > 0

    def warnings(self) -> list[str]:
        """Warn if returns of the episodes are outside the support."""
        return self.outside_support(self.examples.returns)

    def describe_model(self) -> str:
        return f"prefix_causal attention, {self.model.num_prefix_tokens} tokens of observation"

    def describe_data(self) -> str:
        num_tasks = len(self.episodes.success_by_instruction())
        return (
            f"{len(self.episodes):,} episodes of {num_tasks} task{'s' if num_tasks > 1 else ''}, "
            f"{len(self.examples.frames):,} decisions, success {self.data_success_rate:.1%}"
        )

    @staticmethod
    def observation(batch: dict[str, Tensor], frames: slice) -> dict[str, Any]:
        """Return the model's inputs for some frames of each decision."""
        observed = batch.keys() & {"states", "images"}
        return {"input_ids": batch["input_ids"]} | {name: batch[name][:, frames] for name in observed}

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its values, and means of metrics."""
        bins = nearest_bins(batch["actions"], self.model.config.num_action_bins)
        current = self.observation(batch, slice(None, -1)) | {"bins": bins[:, :-1], "with_values": False}
        following = self.observation(batch, slice(1, None)) | {"with_values": False}
        losses = self.objective.loss(
            wrapped(**current),
            bins,
            batch["rewards"],
            batch["returns"],
            batch["is_last"],
            self._with_target_network(current),
            self._with_target_network(following),
        )
        return losses.total, torch.tensor(bins.numel(), device=bins.device), self.metrics_of(losses)

    def _with_target_network(self, inputs: dict[str, Any]) -> Callable[[], DimensionValueOutput] | None:
        target = self.target_network
        return None if target is None else lambda: target.model(**inputs)

    def evaluate(self) -> dict:
        """Act in the simulator, from the same starts every time."""
        was_training = self.model.training
        self.model.eval()
        # The cache grows with every dimension: torch would recompile.
        with torch.compiler.set_stance("force_eager"):
            found = play_episodes(
                self.policy,
                self.task_names,
                self.config.evaluation.episodes,
                EVALUATION_SEED,
            ).summarise()
        self.model.train(was_training)
        names = ("success_rate", "low", "high", "decisions_to_success")
        return {name: found[name] for name in names} | {"data_success_rate": self.data_success_rate}

    def save(self, folder: Path) -> None:
        """Write the tokenizer, and facts about the training data that an evaluation needs."""
        self.tokenizer.save_pretrained(folder)
        facts = {
            "tasks": self.task_names,
            "instructions": self.episodes.instructions,
            "camera": self.episodes.camera,
            "fps": self.episodes.fps,
            "data_success_rate": self.data_success_rate,
            "data_success": self.episodes.success_by_instruction(),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    @staticmethod
    def card_facts(config: RobotConfig, model_folder: Path, name: str, load: str) -> CardFacts:
        """Return facts about a saved model: `name` is its --model, `load` from_pretrained's arguments."""
        saved, has_bins = _read_facts(model_folder), config.value_loss.has_bins
        learning = LEARNING[config.q_learning.target]
        if config.q_learning.conservative_weight and config.q_learning.target != "behavior_cloning":
            learning += ", conservatively"
        observation = config.model.observation
        shapes = {} if observation == "images" else {"states": "1, config.history, config.state_size"}
        if observation != "states":
            shapes["images"] = "1, config.history, config.image_size, config.image_size, 3"
        instructions = ", ".join(f"“{text}”" for text in saved["instructions"][:10])
        return CardFacts(
            task="Robot",
            description="A robot that follows instructions. For every bin of every dimension of its action "
            f"it predicts {'a *distribution* over returns' if has_bins else 'the return'}, one dimension "
            "after the other.",
            training=f"offline, on demonstrations and failures, {learning}",
            papers=("[Q-Transformer](https://arxiv.org/abs/2309.10150)",),
            network="`prefix_causal` attention",
            example=EXAMPLE.format(
                load=load,
                instruction=saved["instructions"][0].replace('"', ""),
                observations="".join(f"    {kind}=torch.zeros({shape}),\n" for kind, shape in shapes.items()),
            ),
            example_notes="The action is in [−1, 1], and `.value` has the values of all its bins"
            f"{'; `.probs` has the distribution of the chosen ones' if has_bins else ''}. `{FACTS}` holds "
            "the tasks, instructions and camera of the training data.",
            commands=tuple(command.format(name=name) for command in COMMANDS),
            results_notes="An episode is a success or not.",
            batch_unit="decisions",
            data=f"The instructions are {instructions}"
            f"{' and others' if len(saved['instructions']) > 10 else ''}"
            f"{f', the camera is `{camera}`' if (camera := saved['camera']) and 'images' in shapes else ''}.",
            limits=(
                "The model was trained with these instructions and scenes alone.",
                "Its values are those of decisions like the training data's.",
            ),
        )

    @staticmethod
    def results_of_run(row: dict, config: RobotConfig, model_folder: Path) -> list[Result]:
        """Return the results in an evaluation row of metrics.jsonl."""
        tasks = _read_facts(model_folder)["tasks"]
        return _results(row, tasks, config.evaluation.episodes * len(tasks))

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of eval.robot."""
        return _results(found, list(found["tasks"]), found["num_episodes"])


def _read_facts(model_folder: Path) -> dict:
    return json.loads((model_folder / FACTS).read_bytes())


def _results(found: dict, tasks: list[str], num_episodes: int) -> list[Result]:
    amount = f"{num_episodes:,} episodes"
    data = ", ".join(tasks) if len(tasks) <= 3 else f"{len(tasks)} tasks of Meta-World"
    return results_of(found, METRICS, amount=amount, data=data, measured=f"{amount}, {data}")
