"""The configuration: every shipped file is valid, and mistakes are named with their place and remedy."""

import pytest
from omegaconf import OmegaConf

from cli.errors import InputError
from configs.loading import CONFIG_FOLDER, DOMAINS, differences, load_config, load_run_config, save_config
from configs.schema import Config, walk_settings
from models.configuration_value_convnet import ARCHITECTURES
from models.configuration_value_transformer import ACTION_EMBEDDINGS, ATTENTIONS
from models.value_losses import VALUE_LOSSES
from tests.data.test_text_files import pipe


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path):
    boards = ["data.train=boards.parquet"] if path.name.startswith("chess") else []
    assert isinstance(load_config(path.name, boards), Config)


def test_overrides_win_and_types_are_kept():
    config = load_config(
        "chess_tiny.yaml", ["optimizer.learning_rate=1e-4", "training.steps=70", "resume=true"]
    )
    assert (config.optimizer.learning_rate, config.training.steps, config.resume) == (1e-4, 70, True)


def test_names_are_those_of_the_models():
    for key, names in (
        ("value_loss.name", VALUE_LOSSES),
        ("model.attention", ATTENTIONS),
        ("model.action_embedding", ACTION_EMBEDDINGS),
        ("model.architecture", ARCHITECTURES),
    ):
        for name in names:
            file = "atari_tiny.yaml" if key == "model.architecture" else "chess_tiny.yaml"
            load_config(file, [f"{key}={name}"])


@pytest.mark.parametrize(
    ("name", "value_loss", "expected"),
    [
        ("atari_dqn.yaml", "mse", (6.25e-5, 1.5e-4)),
        ("atari_dqn.yaml", "mse_sigmoid", (6.25e-5, 1.5e-4)),
        ("atari_dqn.yaml", "c51", (2.5e-4, 3.125e-4)),
        ("atari_dqn.yaml", "hl_gauss", (2.5e-4, 3.125e-4)),
        ("atari_tiny.yaml", "mse", (1e-3, 1.5e-4)),
        ("atari_tiny.yaml", "mse_softmax", (3e-4, 1.5e-4)),
        ("atari_tiny.yaml", "hl_gauss", (3e-3, 3.125e-4)),
    ],
)
def test_every_value_loss_of_atari_has_its_own_learning_rate_unless_one_is_given(
    name, value_loss, expected, tmp_path
):
    loss = f"value_loss.name={value_loss}"
    save_config(load_config(name, [loss]), tmp_path / "config.yaml")
    optimizer = load_run_config(tmp_path).optimizer
    assert (optimizer.learning_rate, optimizer.eps, optimizer.max_grad_norm) == (*expected, None)
    assert load_config(name, [loss, "optimizer.learning_rate=0.1"]).optimizer.learning_rate == 0.1


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["training.stps=3"], ["command line", "training.stps", "Did you mean: 'steps'?"]),
        (["training.steps=many"], ["training.steps", "'many'", "Integer"]),
        (["training.steps=1.5"], ["training.steps", "1.5"]),
        (["model.attention=window"], ["model.attention", "'window'", "prefix"]),
        (["training=3"], ["command line", "3"]),
        (["training.batch_size=0"], ["command line: training.batch_size must be at least 1"]),
        (["training.ema_decay=1"], ["training.ema_decay must be in [0, 1)"]),
        (["seed=-1"], ["seed must be from 0 to 2**32 - 1"]),
        (["seed=4294967296"], ["seed must be from 0 to 2**32 - 1", "4294967296"]),
        (["optimizer.learning_rate=0"], ["optimizer.learning_rate must be positive"]),
        (["evaluation.boards=0"], ["evaluation.boards must be at least 1"]),
        (["training.final_learning_rate=-1"], ["must be in [0, 1]"]),
        (
            ["training.warmup_steps=10000"],
            ["is below warmup_steps + decay_steps = 10000"],
        ),
        (["steps"], ["'steps'", "key=value"]),
    ],
    ids=lambda value: value[0],
)
def test_bad_settings_are_named(overrides, parts):
    with pytest.raises(InputError) as error:
        load_config("chess_tiny.yaml", overrides)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("chess_tiny.yaml", "q_learning.cql_alpha=1", r"q_learning: .* a setting of task wordle, atari"),
        ("chess_tiny.yaml", "data.rule=official", r"data\.rule: .* a setting of task wordle"),
        ("wordle_tiny.yaml", "data.validation=x.parquet", r"data\.validation: .* a setting of task chess"),
        ("wordle_tiny.yaml", "model.attention=full", r"model\.attention: .* a setting of task chess"),
        ("wordle_tiny.yaml", "data.guesses=words.txt", r"data\.guesses without data\.words"),
        ("wordle_tiny.yaml", "evaluation.boards=9", r"evaluation\.boards: .* a setting of task chess"),
        ("wordle_tiny.yaml", "q_learning={cql_matched: true, cql_alpha: 0}", r"it needs cql_alpha above 0"),
        ("wordle_tiny.yaml", "q_learning.target=sarsa", r"mask_illegal_in_max is for target q_learning"),
        ("robot_tiny.yaml", "q_learning.cql_alpha=1", r"q_learning\.cql_alpha: .* a setting of task wordle"),
        ("chess_tiny.yaml", "task=go", r"task 'go' is unknown: choose one of chess, wordle, atari, robot"),
        ("atari_tiny.yaml", "data.train=play.parquet", r"atari\.game is for online learning: leave it out"),
        ("atari_tiny.yaml", "atari.game=null", r"neither atari\.game, .* nor data\.train"),
        ("atari_tiny.yaml", "q_learning.target=monte_carlo", r"monte_carlo learns from recorded episodes"),
        ("atari_tiny.yaml", "data.reward_noise=1", r"reward_noise is for offline learning"),
        ("atari_tiny.yaml", "model.num_experts=2", r"num_experts is for impala, not for minatar"),
        (
            "atari_tiny.yaml",
            "atari.memory_steps=9",
            r"memory_steps=9 is below atari\.first_training_step=5000",
        ),
        ("atari_tiny.yaml", "atari.first_training_step=9", r"too early to sample: at least .* = 512"),
        ("atari_cql.yaml", "atari.epsilon=0.5", r"atari\.epsilon is for online learning"),
        ("chess_tiny.yaml", "trackers=[neptune]", r"'neptune' is unknown: choose from tensorboard"),
        ("chess_tiny.yaml", "trackers=wandb", r"trackers: expected a list, such as \[tensorboard\]"),
        ("chess_tiny.yaml", "task={a: 1}", r"task .* is unknown"),
        ("chess_tiny.yaml", "value_loss.sigma=inf", r"value_loss\.sigma must be positive"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(name, override, message):
    with pytest.raises(InputError, match=message):
        load_config(name, [override])


def test_the_padding_of_hl_gauss_is_the_default_of_the_robot_and_ignored_by_other_losses():
    assert load_config("robot_tiny.yaml", []).value_loss.padding == 3
    for name in VALUE_LOSSES:
        load_config("robot_tiny.yaml", [f"value_loss.name={name}"])
    with pytest.raises(InputError, match="padding and match_mean are for hl_gauss, not for mse"):
        load_config("robot_tiny.yaml", ["value_loss.name=mse", "value_loss.padding=2"])


def test_missing_files_and_keys_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no configuration 'chess_tyny.yaml'.* chess_tiny.yaml"):
        load_config("chess_tyny.yaml", [])
    (tmp_path / "mine.yaml").write_text("output_dir: runs/mine\n")
    with pytest.raises(InputError, match=r"data\.train is not set: add it there, or data.train=VALUE"):
        load_config(str(tmp_path / "mine.yaml"), [])


@pytest.mark.parametrize("size", ["9m", "137m", "270m"])
@pytest.mark.parametrize("family", ["chess", "chessbench"])
def test_without_chessbench_the_command_that_downloads_it_is_named(family, size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = r"python -m data\.chess\.chessbench --download 20 --output runs/chessbench` .* about 12 GB"
    data = load_config(f"{family}_{size}.yaml", []).data
    with pytest.raises(InputError, match=f"runs/chessbench has no boards: `{command}"):
        data.check_files()
    # A download of training shards that was interrupted.
    for folder in ("runs/chessbench/test", "runs/chessbench"):
        with pytest.raises(InputError, match=f"runs/chessbench has no boards: `{command}"):
            data.check_files()
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "boards.parquet").touch()
    data.check_files()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {hidden_size: 8\n", "not valid YAML"),
        ("model: {hiden_size: 8}\n", "model.hiden_size: .* Did you mean: 'hidden_size'"),
        ("- a list\n", "expected lines of key: value"),
        ("seed: 1\n".encode("utf-16"), "broken.yaml is not UTF-8 text: save it as UTF-8"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_config(str(path), [])


def test_what_was_saved_differs_only_where_it_was_changed(tmp_path):
    save_config(load_config("chess_tiny.yaml", []), tmp_path / "config.yaml")
    same = load_config("chess_tiny.yaml", ["resume=true", "log_every=3", "evaluation.every=5"])
    assert differences(same, tmp_path / "config.yaml") == {}
    other = load_config("chess_tiny.yaml", ["seed=1", "value_loss.sigma=0.1"])
    assert differences(other, tmp_path / "config.yaml") == {
        "seed": "seed: 0, now 1",
        "value_loss.sigma": "value_loss.sigma: None, now 0.1",
    }


def test_a_saved_configuration_is_read_back(tmp_path):
    for name in (
        "chess_tiny.yaml",
        "wordle_tiny.yaml",
        "atari_tiny.yaml",
        "atari_cql.yaml",
        "robot_tiny.yaml",
    ):
        save_config(load_config(name, []), tmp_path / "config.yaml")
        assert load_run_config(tmp_path) == load_config(name, [])
    with pytest.raises(InputError, match="nowhere holds no run"):
        load_run_config(tmp_path / "nowhere")


def test_a_configuration_is_read_from_a_pipe():
    with pipe((CONFIG_FOLDER / "chess_tiny.yaml").read_bytes()) as number:
        assert load_config(f"/dev/fd/{number}", []) == load_config("chess_tiny.yaml", [])


def test_every_setting_has_a_bound_that_its_default_keeps():
    for structure in DOMAINS.values():
        config = structure(output_dir="run")
        defaults = OmegaConf.structured(config)
        for key, declared in walk_settings(config):
            value = OmegaConf.select(defaults, key, throw_on_missing=False)
            if (bound := declared.metadata.get("bound")) and value is not None:
                assert bound.contains(value), key


def test_settings_that_change_the_result_may_not_differ_on_resume():
    free = {
        "output_dir", "resume", "log_every", "trackers", "push_to_hub", "push_checkpoints", "data.train",
        "data.validation", "data.prepared_dir", "data.check_moves", "data.words", "data.guesses",
        "model.activation_checkpointing", "training.gradient_accumulation_steps", "training.compile",
    }  # fmt: skip
    for structure in DOMAINS.values():
        settings = list(walk_settings(structure(output_dir="run")))
        found = {key for key, declared in settings if declared.metadata.get("may_differ")}
        found = {key for key in found if not key.startswith(("evaluation.", "checkpoint."))}
        assert found == free & {key for key, _ in settings}
