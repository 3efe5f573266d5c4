"""A run is refused before it starts, and before torch is imported."""

from pathlib import Path

import pytest

from cli.errors import InputError
from configs.loading import load_config, save_config
from configs.schema import Config
from eval.chess.torch_network import TorchNetwork
from tests.eval.chess.test_engines import tiny_model
from training.run_checks import check_output_dir, check_run


def make_config(folder: Path, *changes: str) -> Config:
    return load_config("chess_tiny.yaml", [f"output_dir={folder}", "resume=true", *changes])


def start_run(folder: Path, *changes: str, step: int) -> Path:
    """Make the files of a run that has a checkpoint of a step."""
    save_config(make_config(folder, *changes), folder / "config.yaml")
    (folder / "checkpoints" / f"step_{step:07d}").mkdir(parents=True)
    return folder


def test_a_model_without_a_checkpoint_is_not_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    for changes in ([], ["resume=false"]):
        with pytest.raises(InputError, match="already holds a model, and no checkpoint"):
            check_output_dir(make_config(tmp_path, *changes), tmp_path)


def test_a_run_with_a_checkpoint_continues_with_its_settings(tmp_path):
    run = start_run(tmp_path, step=4)
    check_output_dir(make_config(run), run)
    with pytest.raises(InputError, match="already holds a run: resume=true continues it"):
        check_output_dir(make_config(run, "resume=false"), run)
    with pytest.raises(InputError, match="started with other settings: seed: 0, now 1"):
        check_output_dir(make_config(run, "seed=1"), run)


def test_a_run_without_a_checkpoint_may_be_replaced(tmp_path):
    save_config(make_config(tmp_path), tmp_path / "config.yaml")
    (tmp_path / "metrics.jsonl").write_text("")
    for changes in (["seed=1"], ["resume=false"]):
        check_output_dir(make_config(tmp_path, *changes), tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_and_a_new_one_is_not_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        check_output_dir(make_config(tmp_path / "file/x"), tmp_path / "file/x")
    check_output_dir(make_config(tmp_path / "new"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_number_of_steps_may_change_where_the_learning_rates_so_far_do_not(tmp_path):
    steps = ("training.steps=40", "training.warmup_steps=10")
    constant = start_run(tmp_path / "constant", *steps, "training.decay=constant", step=40)
    steady = make_config(constant, *steps, "training.decay=constant")
    for steady.training.steps in (40, 41, 1000):
        check_output_dir(steady, constant)
    steady.training.steps = 39
    with pytest.raises(InputError, match=r"is at step 40: training\.steps=39 is before that"):
        check_output_dir(steady, constant)
    warming_up = start_run(tmp_path / "warming_up", *steps, step=10)
    check_output_dir(make_config(warming_up, *steps, "training.steps=80"), warming_up)
    decaying = start_run(tmp_path / "decaying", *steps, step=11)
    message = "training.steps: 40, now 80: the learning rate falls from step 10 on, and .* at step 11;"
    with pytest.raises(InputError, match=message):
        check_output_dir(make_config(decaying, *steps, "training.steps=80"), decaying)


def test_the_decay_may_change_before_it_has_started(tmp_path):
    steps = ("training.steps=40", "training.warmup_steps=10", "training.decay_steps=10")
    more = ("training.steps=80", "training.decay=cosine", "training.final_learning_rate=0.1")
    stable = start_run(tmp_path / "stable", *steps, step=30)
    longer = make_config(stable, *more, "training.warmup_steps=10", "training.decay_steps=50")
    check_output_dir(longer, stable)
    decaying = start_run(tmp_path / "decaying", *steps, step=31)
    for run, decay_steps in ((stable, 51), (decaying, 10)):
        changes = (*more, "training.warmup_steps=10", f"training.decay_steps={decay_steps}")
        with pytest.raises(InputError, match="the learning rate falls from step"):
            check_output_dir(make_config(run, *changes), run)
    earlier = decaying / "checkpoints" / "step_0000030"
    earlier.mkdir()
    with pytest.raises(InputError, match="delete the checkpoints after step_0000030 to continue there"):
        check_output_dir(make_config(decaying, *steps, "training.steps=80"), decaying)
    (decaying / "checkpoints" / "step_0000031").rmdir()
    check_output_dir(make_config(decaying, *steps, "training.steps=80"), decaying)


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    missing = r"needs a C\+\+ compiler, but g\+\+ cannot be found: apt-get install g\+\+"
    with pytest.raises(InputError, match=f"training.compile: torch.compile {missing}"):
        check_run(make_config(tmp_path / "run", "training.compile=true"))
    with pytest.raises(InputError, match=f"--compile: torch.compile {missing}"):
        TorchNetwork(tiny_model(), orient=False, compile=True)
