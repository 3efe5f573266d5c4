"""Speed of the robot: pictures without shadows compared with MuJoCo's default, and episodes at a time."""

from collections.abc import Iterator

import torch

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from cli.errors import InputError
from data.robot.metaworld import DEFAULT_CAMERA, FPS, MAX_DECISIONS, RobotEnv
from data.robot.tasks import INSTRUCTIONS
from eval.robot.evaluation import EPISODES_AT_A_TIME, play_episodes
from eval.robot.model_policy import ModelPolicy
from models.configuration_q_transformer import QTransformerConfig
from models.modeling_q_transformer import QTransformer
from models.tokenization_robot import make_instruction_tokenizer


TASK = "drawer-open-v3"
IMAGE_SIZE = 64
NUM_PICTURES, FEW_PICTURES = 200, 10
NUM_EPISODES, FEW_EPISODES = 16, 2


def pictures(settings: Settings) -> Table:
    """Compare pictures of the environment with those of MuJoCo's renderer as it is."""
    num_pictures, few_pictures = (4, 1) if settings.quick else (NUM_PICTURES, FEW_PICTURES)
    env = RobotEnv(TASK, IMAGE_SIZE)
    env.reset(seed=settings.seed)
    import mujoco  # the environment has chosen its renderer, which must come first

    naive_env = RobotEnv(TASK)  # its model keeps shadows
    naive_env.reset(seed=settings.seed)
    naive = mujoco.Renderer(naive_env.simulator.model, IMAGE_SIZE, IMAGE_SIZE)

    def render_many(_: int) -> None:
        for _ in range(num_pictures):
            env.picture(IMAGE_SIZE)

    def render_naively(_: int) -> None:
        for _ in range(few_pictures):
            naive.update_scene(naive_env.simulator.data, DEFAULT_CAMERA)
            naive.render()

    alternatives = {
        "no shadows, reflections, multisampling": Alternative(render_many, num_pictures),
        "MuJoCo's renderer as it is": Alternative(render_naively, few_pictures),
    }
    table = compare(
        f"pictures, {IMAGE_SIZE} pixels", "frame", alternatives, range(settings.repeats), warm_up=0
    )
    naive.close()
    return table


def decisions(settings: Settings) -> Table:
    """Compare episodes at a time, with one call of the model, and one after the other."""
    num_episodes, few_episodes = (2, 1) if settings.quick else (NUM_EPISODES, FEW_EPISODES)
    torch.manual_seed(settings.seed)
    model = QTransformer(QTransformerConfig(state_size=39)).eval().to(settings.device)
    policy = ModelPolicy(model, make_instruction_tokenizer(list(INSTRUCTIONS.values())), None, FPS)
    fractions: dict[str, float] = {}

    def play(name: str, episodes: int, at_a_time: int) -> None:
        results = play_episodes(policy, [TASK], episodes, settings.seed, at_a_time=at_a_time)
        fractions[name] = results.summarise()["fraction_outside_policy"]

    many, one = f"{num_episodes} episodes at a time", "one episode at a time"
    alternatives = {
        many: Alternative(
            lambda _: play(many, num_episodes, EPISODES_AT_A_TIME), num_episodes * MAX_DECISIONS
        ),
        one: Alternative(lambda _: play(one, few_episodes, 1), few_episodes * MAX_DECISIONS),
    }
    table = compare(
        "decisions of a model, states", "decision", alternatives, range(settings.repeats), warm_up=0
    )
    shares = "; ".join(f"{name}: {fraction:.0%}" for name, fraction in fractions.items())
    table.notes.append(
        f"{model.num_parameters() / 1e6:.2f}M parameters, random weights, which never succeed; resets are "
        f"included. Time outside the network: {shares}"
    )
    return table


def measure(settings: Settings) -> Iterator[Table]:
    """Measure frames per second, if there is a renderer, and decisions per second."""
    try:
        yield pictures(settings)
    except InputError as error:
        print(f"\npictures are not measured: {error}")
    yield decisions(settings)
