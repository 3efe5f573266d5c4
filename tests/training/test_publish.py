"""Models on the hub, here a server on this machine: pushed by runs and by training.publish, and loaded."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from cli.errors import InputError
from configs.schema import differences, load_config
from eval.loading import load_model, model_digest
from tests.support.commands import REPOSITORY, assert_input_error, run_command
from tests.support.hub_server import HubServer
from tests.support.pushed_run import EIGHT_STEPS, REPO, code_blocks
from tests.support.training_runs import SAMPLE
from training.publish import main, publish, publish_after_training


PUZZLES = REPOSITORY / "data/chess/sample/puzzles.csv"
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
MOVES = ["e2e4", "d2d4", "f2f3"]
REFUSED = "the token may not write there"
NOWHERE = "http://127.0.0.1:9"  # no server listens on this port
# What a user of a model has not installed: this project, and what its other parts import.
OURS = ["chess", "configs", "data", "eval", "models", "omegaconf", "training"]


def run_elsewhere(hub: HubServer, folder: Path, code: str) -> object:
    """Run code as a user without this project would, and return what it prints."""
    caches = {name: str(folder / name.lower()) for name in ("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE")}
    imported = (
        f"import sys; found = [name for name in {OURS} if name in sys.modules]; assert not found, found"
    )
    process = subprocess.run(
        [sys.executable, "-I", "-c", f"{code}\n{imported}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | hub.environment | caches,
    )
    assert process.returncode == 0, process.stderr
    return ast.literal_eval(process.stdout)


@pytest.fixture(scope="module")
def values_elsewhere(pushed_run, model_hub, tmp_path_factory) -> dict[str, list[float]]:
    """What the model, and that of a checkpoint, say of MOVES where this project is not."""
    code = f"""
from transformers import AutoModel, AutoTokenizer
values = {{}}
for revision in ("main", "step_4"):
    model = AutoModel.from_pretrained("{REPO}", revision=revision, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained("{REPO}", revision=revision, trust_remote_code=True)
    inputs = tokenizer.encode_positions(["{START}"], [{MOVES}], return_tensors="pt")
    values[revision] = model(**inputs).value[0].tolist()
print(values)
"""
    return run_elsewhere(model_hub, tmp_path_factory.mktemp("elsewhere"), code)


def local_values(run: Path, weights: Path | None = None) -> list[float]:
    model, tokenizer = load_model(run / "model", "cpu")
    if weights:
        model.load_state_dict(load_file(weights), strict=False)
    with torch.no_grad():
        return model(**tokenizer.encode_positions([START], [MOVES], return_tensors="pt")).value[0].tolist()


def test_a_run_pushes_its_model_with_code_tokenizer_card_licence_and_curves(pushed_run, model_hub):
    pushed = model_hub.files("models", REPO)
    assert {path.name: path.read_bytes() for path in (pushed_run / "model").iterdir()} == {
        name: content for name, content in pushed.items() if name != ".gitattributes"
    }
    assert pushed.keys() >= {"README.md", "LICENSE", "curves.png", "model.safetensors", "config.json"}
    assert pushed.keys() >= {
        "modeling_value_transformer.py",
        "tokenization_chess.py",
        "tokenizer_config.json",
    }
    assert pushed["LICENSE"] == (REPOSITORY / "LICENSE").read_bytes()


def test_a_pushed_model_needs_nothing_but_torch_and_transformers(pushed_run, values_elsewhere):
    assert values_elsewhere["main"] == pytest.approx(local_values(pushed_run), abs=1e-6)


def test_checkpoints_are_branches_that_load_by_revision(pushed_run, model_hub, values_elsewhere):
    assert set(model_hub.branches("models", REPO)) == {"main", "step_4", "step_8"}
    average = pushed_run / "checkpoints/step_0000004/average.safetensors"
    assert values_elsewhere["step_4"] == pytest.approx(local_values(pushed_run, average), abs=1e-6)
    assert values_elsewhere["step_4"] != pytest.approx(values_elsewhere["main"], abs=1e-4)
    card = model_hub.files("models", REPO, "step_4")["README.md"].decode()
    assert "after step 4 of 8" in card and 'revision="step_4"' in card
    assert not list(pushed_run.glob(".publish-*"))


def test_the_five_lines_of_the_card_run_as_they_stand(pushed_run, model_hub, tmp_path):
    lines, _ = code_blocks(model_hub.files("models", REPO)["README.md"].decode())
    assert len(lines.splitlines()) == 5
    values = run_elsewhere(model_hub, tmp_path, lines)
    assert list(values) == MOVES
    assert list(values.values()) == pytest.approx(local_values(pushed_run), abs=1e-6)


def test_pushing_the_same_again_changes_nothing(copied_run, own_hub):
    assert publish(copied_run, REPO, checkpoints=True) == f"{own_hub.url}/{REPO}"
    repository = own_hub.repositories["models", REPO]
    before = dict(repository.branches)
    publish(copied_run, REPO, checkpoints=True)
    assert repository.branches == before


def test_a_run_that_the_hub_refuses_says_how_to_publish_it_later(copied_run, own_hub, capsys):
    config = load_config(str(copied_run / "config.yaml"), [f"output_dir={copied_run}"])
    own_hub.refuse_uploads_with = 403
    publish_after_training(config)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: not published: ") and REFUSED in line
    later = f"python -m training.publish --run {copied_run} --repo {REPO} --checkpoints"
    assert line.endswith(f"publish it later: {later}")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refused", "cannot be reached", "not logged in"])
def test_a_run_whose_upload_fails_ends_well_and_its_last_line_publishes_it(
    settings, own_hub, tmp_path, fault
):
    environment = dict(own_hub.environment)
    if fault == "refused":
        own_hub.refuse_uploads_with = 403
    elif fault == "cannot be reached":
        environment["HF_ENDPOINT"] = NOWHERE
    else:
        environment["HF_TOKEN"] = ""
    output_dir = tmp_path / "a run"
    result = run_command(
        "train", *settings, *EIGHT_STEPS, f"output_dir={output_dir}", f"push_to_hub={REPO}", **environment
    )
    assert result.returncode == 0, result.stderr
    *before, last = result.stdout.splitlines()
    assert last.startswith("warning: not published: ")
    assert (REFUSED if fault == "refused" else fault) in last
    # What is known beforehand is said beforehand, when something can still be done.
    first_evaluation = next(i for i, line in enumerate(before) if line.startswith("eval"))
    is_foreseen = any("not logged in" in line for line in before[:first_evaluation])
    assert is_foreseen == (fault == "not logged in")
    assert local_values(output_dir)

    own_hub.refuse_uploads_with = None
    later = last.split("publish it later: ")[1].replace("python", sys.executable, 1)
    process = subprocess.run(later, shell=True, cwd=REPOSITORY, env=os.environ | own_hub.environment)
    assert process.returncode == 0
    assert "model.safetensors" in own_hub.files("models", REPO)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["push_to_hub=tiny"], ["push_to_hub=tiny", "user/name"]),
        (["push_to_hub=user/tiny/model"], ["user/name"]),
        (["push_to_hub='user/ti ny'"], ["user/name"]),
        (["push_checkpoints=true"], ["push_to_hub=user/name"]),
    ],
)
def test_what_cannot_be_a_hub_id_is_refused_before_training(changes, parts):
    with pytest.raises(InputError) as refused:
        load_config("chess_tiny.yaml", changes)
    assert all(part in str(refused.value) for part in parts)


def test_a_run_may_be_published_elsewhere_when_it_is_resumed(pushed_run):
    changes = ["push_to_hub=user/other", "push_checkpoints=false"]
    assert (
        differences(load_config(str(pushed_run / "config.yaml"), changes), pushed_run / "config.yaml") == []
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "parts"),
    [
        (["--run=no/such/run", "--repo=user/other"], {}, ["no/such/run", "no such folder"]),
        (["--run={run}/model", "--repo=user/other"], {}, ["did you mean", "tiny?"]),
        (["--run={run}", "--repo=other"], {}, ["--repo other", "user/name"]),
        (["--run={run}", "--repo=somebody/other"], {}, ["somebody/other", REFUSED]),
        (["--run={run}", "--repo=user/other"], {"HF_TOKEN": "hf_old"}, ["does not accept the token"]),
        (["--run={run}", "--repo=user/other", "--results=no.json"], {}, ["no.json", "cannot be read"]),
    ],
)
def test_bad_input_is_refused(copied_run, own_hub, monkeypatch, arguments, environment, parts):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arguments = [argument.format(run=copied_run) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["training.publish", *arguments])
    with pytest.raises(InputError) as refused:
        main()
    assert all(part in str(refused.value) for part in parts), refused.value
    assert not own_hub.repositories


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"HF_TOKEN": ""}, ["hf auth login", "HF_TOKEN"]),
        ({"HF_ENDPOINT": NOWHERE}, ["cannot be reached"]),
    ],
)
def test_without_a_login_or_a_hub_the_command_ends_with_one_line(copied_run, model_hub, environment, parts):
    arguments = ["--run", copied_run, "--repo", "user/other"]  # which its card names from now on
    assert_input_error(
        run_command("training.publish", *arguments, **(model_hub.environment | environment)), *parts
    )


def test_a_run_without_a_model_is_not_published(copied_run, own_hub):
    shutil.rmtree(copied_run / "model")
    with pytest.raises(InputError, match=r"no model yet.*resume=true"):
        publish(copied_run, REPO)


def test_a_hub_out_of_order_is_said(copied_run, own_hub):
    own_hub.fail_with = 500
    with pytest.raises(InputError, match=r"did not take user/tiny.*500.*call again"):
        publish(copied_run, REPO)


def test_a_checkpoint_of_another_model_is_refused_before_anything_is_pushed(copied_run, own_hub):
    average = copied_run / "checkpoints/step_0000004/average.safetensors"
    average.with_name("optimizer.safetensors").replace(average)
    with pytest.raises(InputError, match=f"{average} does not hold the weights"):
        publish(copied_run, REPO, checkpoints=True)
    assert not own_hub.repositories


def test_a_run_without_an_average_pushes_the_weights_of_its_checkpoints(copied_run, own_hub, tmp_path):
    config = copied_run / "config.yaml"
    config.write_text(re.sub(r"ema_decay: .*", "ema_decay: 0.0", config.read_text()))
    folder = copied_run / "checkpoints/step_0000004"
    (folder / "average.safetensors").unlink()
    publish(copied_run, REPO, checkpoints=True)
    (tmp_path / "pushed").write_bytes(own_hub.files("models", REPO, "step_4")["model.safetensors"])
    pushed, expected = load_file(tmp_path / "pushed"), load_file(folder / "model.safetensors")
    assert all(torch.equal(pushed[name], weight) for name, weight in expected.items())


def test_a_private_model_is_made_private_and_never_put_where_all_can_see_it(copied_run, own_hub):
    publish(copied_run, REPO, private=True)
    assert own_hub.repositories["models", REPO].private
    publish(copied_run, "user/public")
    with pytest.raises(InputError, match="user/public exists and is public"):
        publish(copied_run, "user/public", private=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("eval.chess.actions", [f"--data={SAMPLE}", "--limit=5"]),
        ("eval.chess.puzzles", [f"--puzzles={PUZZLES}", "--limit=5"]),
        ("eval.chess.play", ["--opponent=random", "--games=2"]),
        ("eval.chess.play", [f"--opponent=model:{REPO}", "--games=2", "--temperature=inf"]),
        ("eval.chess.elo", ["--opponents=random=0", "--games=2", "--processes=1", "--output={folder}/elo"]),
        ("eval.chess.analyse", [f"--fen={START}", "--output={folder}/analysis.html"]),
        ("benchmarks", ["play", "--quick"]),
    ],
)
def test_every_chess_evaluation_takes_a_hub_id(pushed_run, model_hub, tmp_path, module, arguments):
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    result = run_command(module, f"--model={REPO}", *arguments, **model_hub.environment)
    assert result.returncode == 0, result.stderr
    if module == "eval.chess.elo":  # which goes on with the games of the very same model
        assert f"{REPO}#{model_digest(pushed_run / 'model')}\n" in result.stdout
    assert "Fetching" not in result.stderr


@pytest.mark.slow
def test_the_uci_engine_takes_a_hub_id(pushed_run, model_hub):
    process = subprocess.run(
        [sys.executable, "-m", "eval.chess.uci", "--model", REPO],
        input="uci\nposition startpos\ngo\nquit\n",
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | model_hub.environment,
    )
    assert process.returncode == 0, process.stderr
    assert "bestmove" in process.stdout


@pytest.mark.slow
def test_a_download_that_breaks_off_is_taken_up_again(pushed_run, model_hub, tmp_path):
    model_hub.cut_downloads = 2
    environment = model_hub.environment | {"HF_HUB_CACHE": str(tmp_path), "HF_HOME": str(tmp_path)}
    result = run_command("eval.chess.actions", "--model", REPO, "--data", SAMPLE, "--limit=5", **environment)
    assert result.returncode == 0, result.stderr
    assert model_hub.cut_downloads == 0


@pytest.mark.slow
def test_an_agent_of_wordle_is_pushed_with_its_game_and_measured_from_the_hub(model_hub, tmp_path):
    games = tmp_path / "games.parquet"
    arguments = ["--games=100", "--words=american_446", "--rule=simplified", f"--output={games}"]
    assert run_command("data.wordle.generate", *arguments).returncode == 0
    repo, output_dir = "user/agent", tmp_path / "agent"
    arguments = ["--config=wordle_tiny.yaml", f"data.train={games}", *EIGHT_STEPS, "evaluation.games=20"]
    arguments += [f"output_dir={output_dir}", f"push_to_hub={repo}"]
    result = run_command("train", *arguments, **model_hub.environment)
    assert result.returncode == 0, result.stderr
    pushed = model_hub.files("models", repo)
    assert {"wordle.json", "tokenizer.json"} <= pushed.keys()
    card = ModelCard(pushed["README.md"].decode())
    assert {"mean_return", "success_rate"} == {r.metric_type for r in card.data.eval_results}
    assert {r.metric_name.split(", ")[1] for r in card.data.eval_results} == {"20 games"}
    (lines,) = code_blocks(card.text)
    assert len(lines.splitlines()) == 5
    assert len(run_elsewhere(model_hub, tmp_path, lines)) == 35

    report = tmp_path / "wordle.json"
    for command in (
        f"eval.wordle --model {repo} --num-games 20 --json {report}",
        f"eval.wordle --model {repo} --compare {repo} --protocol lmrl --num-games 20 --temperature 1",
        f"benchmarks wordle --model {repo} --quick",
    ):
        result = run_command(*command.split(), **model_hub.environment)
        assert result.returncode == 0, result.stderr
    arguments = ["--run", output_dir, "--repo", repo, "--results", report]
    result = run_command("training.publish", *arguments, **model_hub.environment)
    assert result.returncode == 0, result.stderr
    card = ModelCard(model_hub.files("models", repo)["README.md"].decode())
    assert "next guess right" in card.text and "20 games of lmrl" in card.text
