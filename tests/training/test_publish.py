"""Published models, in folders and on a hub that is a server on this machine, loaded in fresh processes."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from cli.errors import InputError
from cli.options import write_json
from configs.loading import differences, load_config
from eval.loading import identify_model, load_model
from eval.model_folder import model_digest
from tests.support.commands import REPOSITORY, run_checked, run_code, run_command
from tests.support.hub_server import HubServer
from tests.support.pushed_run import EIGHT_STEPS, REPO, code_blocks
from tests.support.training_runs import SAMPLE, TINY
from training.publish import main, publish, publish_after_training, publish_folder


START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
MOVES = ["e2e4", "d2d4", "f2f3"]
REFUSED = "the token may not write there"
NOWHERE = "http://127.0.0.1:9"  # no server listens on this port


@pytest.fixture
def call(monkeypatch) -> Callable:
    """Call `python -m training.publish` in this process."""

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["training.publish", *map(str, arguments)])
        main()

    return call


def run_elsewhere(hub: HubServer, folder: Path, code: str) -> list:
    """Run code as a user without this project would, and return the values that it prints."""
    caches = {name: str(folder / name.lower()) for name in ("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE")}
    ours = ["chess", "configs", "data", "eval", "models", "omegaconf", "training"]
    find = f"import sys\nfound = [name for name in sys.modules if name.partition('.')[0] in {ours}]"
    forget = f"{find}\nfor name in found: del sys.modules[name]"
    process = run_code(
        f"{forget}\n{code}\n{find}\nassert not found, found", folder=folder, **hub.environment | caches
    )
    assert process.returncode == 0, process.stderr
    return [ast.literal_eval(line) for line in process.stdout.splitlines()]


def values_of(folder: Path, weights: Path | None = None) -> list[float]:
    model, tokenizer = load_model(folder, "cpu")
    if weights:
        model.load_state_dict(load_file(weights), strict=False)
    with torch.no_grad():
        return model(**tokenizer.encode_positions([START], [MOVES], return_tensors="pt")).value[0].tolist()


def results_file(path: Path, measured: Path) -> Path:
    """Write what eval.chess.puzzles would write of the model in the folder `measured`."""
    found = {"accuracy": 0.5, "low": 0.402, "high": 0.598, "num_puzzles": 100, "puzzles": "some/puzzles.csv"}
    write_json(path, {"model": identify_model(measured), **found})
    return path


def test_a_run_pushes_its_model_with_code_tokenizer_card_licence_and_curves(pushed_run, model_hub):
    pushed = model_hub.files("models", REPO)
    local = {path.name: path.read_bytes() for path in (pushed_run / "model").iterdir()}
    assert {name for name in pushed if name != ".gitattributes"} == local.keys()
    assert {name for name in local if pushed[name] != local[name]} == {"README.md"}
    assert pushed.keys() >= {"modeling_value_transformer.py", "tokenization_chess.py", "config.json"}
    assert pushed.keys() >= {"README.md", "curves.png", "settings.yaml", "tokenizer_config.json"}
    assert pushed["LICENSE"] == (REPOSITORY / "LICENSE").read_bytes()
    assert not list(pushed_run.glob(".publish-*"))


@pytest.mark.slow
def test_the_code_in_the_cards_needs_only_torch_and_transformers(pushed_run, model_hub, tmp_path):
    assert set(model_hub.branches("models", REPO)) == {"main", "step_4", "step_8"}
    cards = [model_hub.files("models", REPO, branch)["README.md"].decode() for branch in ("main", "step_4")]
    assert "after step 4 of 8" in cards[1] and 'revision="step_4"' in cards[1]
    final, at_step_4 = run_elsewhere(model_hub, tmp_path, "\n".join(code_blocks(card)[0] for card in cards))
    assert list(final) == list(at_step_4) == MOVES
    average = pushed_run / "checkpoints/step_0000004/average.safetensors"
    assert list(final.values()) == pytest.approx(values_of(pushed_run / "model"), abs=1e-6)
    assert list(at_step_4.values()) == pytest.approx(values_of(pushed_run / "model", average), abs=1e-6)
    assert list(at_step_4.values()) != pytest.approx(list(final.values()), abs=1e-4)


def test_pushing_the_same_again_changes_nothing(copied_run, own_hub):
    assert publish(copied_run, REPO, checkpoints=True) == f"{own_hub.url}/{REPO}"
    repository = own_hub.repositories["models", REPO]
    before = dict(repository.branches)
    publish(copied_run, REPO, checkpoints=True)
    assert repository.branches == before


def test_pushing_other_files_of_weights_removes_the_older_ones(copied_run, own_hub):
    publish(copied_run, REPO, dtype="bfloat16", shard_bytes=100_000)
    assert "model.safetensors" not in own_hub.files("models", REPO)
    publish(copied_run, REPO)
    pushed = [name for name in own_hub.files("models", REPO) if "safetensors" in name]
    assert pushed == ["model.safetensors"]


def test_a_run_without_an_average_pushes_the_weights_of_its_checkpoints(copied_run, own_hub, tmp_path):
    config = copied_run / "config.yaml"
    config.write_text(re.sub(r"ema_decay: .*", "ema_decay: 0.0", config.read_text()))
    checkpoint = copied_run / "checkpoints/step_0000004"
    (checkpoint / "average.safetensors").unlink()
    publish(copied_run, REPO, checkpoints=True)
    (tmp_path / "pushed").write_bytes(own_hub.files("models", REPO, "step_4")["model.safetensors"])
    pushed, expected = load_file(tmp_path / "pushed"), load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(pushed[name], weight) for name, weight in expected.items())


def test_a_private_model_is_never_pushed_to_a_public_repository(copied_run, own_hub):
    publish(copied_run, REPO, private=True)
    assert own_hub.repositories["models", REPO].private
    publish(copied_run, "user/public")
    with pytest.raises(InputError, match="user/public exists and is public"):
        publish(copied_run, "user/public", private=True)


def test_a_folder_holds_the_rounded_model_and_says_so_in_its_size(pushed_run, tmp_path, call, capsys):
    model, folder = pushed_run / "model", tmp_path / "rounded"
    call("--run", pushed_run, "--folder", folder, "--dtype=bfloat16")
    assert f"published: {folder}, 0." in capsys.readouterr().out
    original, rounded = (load_file(path / "model.safetensors") for path in (model, folder))
    assert rounded.keys() == original.keys()
    for name, tensor in original.items():
        expected = tensor.bfloat16() if tensor.is_floating_point() else tensor
        assert torch.equal(rounded[name], expected), name
    assert values_of(folder) == pytest.approx(values_of(model), abs=0.01)
    card = ModelCard.load(folder / "README.md")
    # The run measured other weights.
    assert not card.data.eval_results and "Nothing has been measured" in card.text


def test_weights_that_are_not_rounded_are_those_of_the_run_in_any_number_of_files(pushed_run, tmp_path):
    publish_folder(pushed_run, tmp_path / "one")
    assert model_digest(tmp_path / "one") == model_digest(pushed_run / "model")
    publish_folder(pushed_run, tmp_path / "several", shard_bytes=100_000)
    sizes = sorted(file.stat().st_size for file in (tmp_path / "several").glob("*.safetensors"))
    # The embedding of all moves is larger than a shard.
    assert len(sizes) > 1 and sizes[-2] <= 110_000
    assert values_of(tmp_path / "several") == values_of(tmp_path / "one")


def test_a_card_shows_results_of_the_published_weights_alone(pushed_run, tmp_path, call):
    rounded = ["--run", pushed_run, "--folder", tmp_path / "rounded", "--dtype=bfloat16"]
    call(*rounded)
    own = results_file(tmp_path / "own.json", tmp_path / "rounded")
    before_rounding = results_file(tmp_path / "before.json", pushed_run / "model")
    with pytest.raises(InputError, match=r"before\.json holds results of .*then evaluate .*rounded"):
        call(*rounded, "--results", own, before_rounding)
    assert "Nothing has been measured" in (tmp_path / "rounded/README.md").read_text()
    call(*rounded, "--results", own, "--note", "Trained in a second on a laptop.")
    card = ModelCard.load(tmp_path / "rounded/README.md")
    assert [result.metric_value for result in card.data.eval_results] == [0.5]
    assert "Trained in a second on a laptop." in card.text
    with pytest.raises(InputError, match=r"own\.json holds results of .*rounded"):
        call("--run", pushed_run, "--folder", tmp_path / "rounded", "--results", own)
    call("--run", pushed_run, "--folder", tmp_path / "exact", "--results", before_rounding)
    assert "puzzles solved" in (tmp_path / "exact/README.md").read_text()


def test_a_folder_says_nothing_of_this_machine(pushed_run, tmp_path):
    publish_folder(pushed_run, tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        if file.suffix in (".md", ".yaml", ".json"):
            text = file.read_text().replace(str(tmp_path / "model"), "")
            assert not [part for part in (pushed_run, SAMPLE.parent, REPOSITORY) if str(part) in text]


def test_only_published_models_are_replaced(copied_run, tmp_path):
    (tmp_path / "thesis").mkdir()
    for folder in (tmp_path / "thesis", copied_run / "model", SAMPLE):
        with pytest.raises(InputError, match="exists and is not a published model"):
            publish_folder(copied_run, folder)
    with pytest.raises(InputError, match="is a file, not a folder"):
        publish_folder(copied_run, REPOSITORY / "LICENSE/model")
    for _ in range(2):
        publish_folder(copied_run, copied_run / "published")


def test_the_film_of_a_run_is_shown_and_files_of_onnx_are_made_again(copied_run, tmp_path):
    (copied_run / "play.gif").write_bytes(b"GIF89a")
    (copied_run / "model/onnx").mkdir()
    (copied_run / "model/onnx/model.onnx").write_bytes(b"of other weights")
    publish_folder(copied_run, tmp_path / "published", dtype="bfloat16")
    assert (tmp_path / "published/play.gif").read_bytes() == b"GIF89a"
    card = (tmp_path / "published/README.md").read_text()
    assert (
        "![Episodes of the model](play.gif)" in card and "![Curves of the training run](curves.png)" in card
    )
    assert not (tmp_path / "published/onnx").exists() and "onnx" not in card


@pytest.mark.parametrize(
    ("arguments", "environment", "parts"),
    [
        (["--run=no/such/run", "--repo=user/other"], {}, ["no/such/run", "output_dir of a run"]),
        (["--run={run}/model", "--repo=user/other"], {}, ["no config.yaml", "output_dir of a run"]),
        (["--run={run}", "--repo=other"], {}, ["--repo other", "user/name"]),
        (["--run={run}", "--repo=somebody/other"], {}, ["somebody/other", REFUSED]),
        (["--run={run}", "--repo=user/other"], {"HF_TOKEN": "hf_old"}, ["does not accept the token"]),
        (["--run={run}", "--repo=user/other"], {"HF_TOKEN": ""}, ["hf auth login", "HF_TOKEN"]),
        (["--run={run}", "--repo=user/other", "--results=no.json"], {}, ["no.json", "cannot be read"]),
    ],
)
def test_bad_input_is_refused(copied_run, own_hub, monkeypatch, call, arguments, environment, parts):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as refused:
        call(*(argument.format(run=copied_run) for argument in arguments))
    assert all(part in str(refused.value) for part in parts), refused.value
    assert not own_hub.repositories


@pytest.mark.parametrize(
    ("folder", "space", "message"),
    [
        ("out", "out", "--space: choose a folder outside --folder"),
        ("out", "out/page", "--space: choose a folder outside --folder"),
        ("out/model", "./out", "--space: choose a folder outside --folder"),
        ("out/model", "out/page", "write ./out/page for a folder"),
    ],
)
def test_a_space_that_would_replace_its_model_is_refused(
    folder, space, message, tmp_path, monkeypatch, call, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        call("--run", "runs/tiny", "--folder", folder, "--space", space)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_model_is_not_published(copied_run, own_hub):
    shutil.rmtree(copied_run / "model")
    with pytest.raises(InputError, match=r"no model yet.*resume=true"):
        publish(copied_run, REPO)


def test_a_failing_hub_is_reported(copied_run, own_hub, monkeypatch):
    own_hub.fail_with = 500
    with pytest.raises(InputError, match=r"user/tiny failed: .*500.*again"):
        publish(copied_run, REPO)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", NOWHERE)
    with pytest.raises(InputError, match="cannot be reached"):
        publish(copied_run, REPO)


def test_a_run_that_the_hub_refuses_says_how_to_publish_it_later(copied_run, own_hub, capsys):
    config = load_config(str(copied_run / "config.yaml"), [f"output_dir={copied_run}"])
    own_hub.refuse_uploads_with = 403
    publish_after_training(config)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: not published: ") and REFUSED in line
    later = f"python -m training.publish --run {copied_run} --repo {REPO} --checkpoints"
    assert line.endswith(f"publish it later: {later}")


@pytest.mark.slow
def test_a_run_without_a_login_warns_and_its_last_line_publishes_it_later(settings, own_hub, tmp_path):
    output_dir = tmp_path / "a run"
    arguments = [*settings, *EIGHT_STEPS, f"output_dir={output_dir}", f"push_to_hub={REPO}"]
    printed = run_checked("train", *arguments, **(own_hub.environment | {"HF_TOKEN": ""}))
    *before, last = printed.splitlines()
    first_evaluation = next(i for i, line in enumerate(before) if line.startswith("eval"))
    assert any("not logged in" in line for line in before[:first_evaluation])
    assert last.startswith("warning: not published: ") and "not logged in" in last
    assert values_of(output_dir / "model")

    later = last.split("publish it later: ")[1]
    process = subprocess.run(later, shell=True, cwd=REPOSITORY, env=os.environ | own_hub.environment)
    assert process.returncode == 0
    assert "model.safetensors" in own_hub.files("models", REPO)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["push_to_hub=tiny"], ["push_to_hub=tiny", "user/name"]),
        (["push_to_hub='user/ti ny'"], ["user/name"]),
        (["push_checkpoints=true"], ["push_to_hub=user/name"]),
    ],
)
def test_settings_that_cannot_be_published_are_refused_before_training(changes, parts):
    with pytest.raises(InputError) as refused:
        load_config("chess_tiny.yaml", changes)
    assert all(part in str(refused.value) for part in parts)


def test_a_resumed_run_may_be_published_elsewhere(pushed_run):
    changes = ["push_to_hub=user/other", "push_checkpoints=false"]
    saved = pushed_run / "config.yaml"
    assert differences(load_config(str(saved), changes), saved) == {}


@pytest.mark.slow
def test_elo_resumes_with_a_model_of_the_hub_by_its_weights(pushed_run, model_hub, tmp_path):
    arguments = [f"--model={REPO}", "--opponents=random=0", "--games=2", "--processes=1"]
    result = run_command("eval.chess.elo", *arguments, f"--output={tmp_path}/elo", **model_hub.environment)
    assert result.returncode == 0, result.stderr
    assert f"{REPO}#{model_digest(pushed_run / 'model')}\n" in result.stdout
    assert "Fetching" not in result.stderr


@pytest.mark.slow
def test_a_wordle_agent_is_pushed_with_its_game_and_measured_from_the_hub(own_hub, tmp_path, call):
    games = tmp_path / "games.parquet"
    arguments = ["--games=100", "--words=american_446", "--rule=simplified", f"--output={games}"]
    assert run_command("data.wordle.generate", *arguments).returncode == 0
    repo, output_dir = "user/agent", tmp_path / "agent"
    arguments = ["--config=wordle_tiny.yaml", f"data.train={games}", *TINY, *EIGHT_STEPS]
    arguments += ["evaluation.games=20"]
    arguments += [f"output_dir={output_dir}", f"push_to_hub={repo}"]
    run_checked("train", *arguments, **own_hub.environment)
    pushed = own_hub.files("models", repo)
    assert {"wordle.json", "tokenizer.json"} <= pushed.keys()
    card = ModelCard(pushed["README.md"].decode())
    assert {"mean_return", "success_rate"} == {r.metric_type for r in card.data.eval_results}
    assert all(r.metric_args == {"amount": "20 games"} for r in card.data.eval_results)
    (lines,) = code_blocks(card.text)
    (values,) = run_elsewhere(own_hub, tmp_path, lines)
    assert len(values) == 35

    report = tmp_path / "wordle.json"
    arguments = ["--model", repo, "--protocol=lmrl", "--num-games=20", "--json", report]
    run_checked("eval.wordle", *arguments, **own_hub.environment)
    call("--run", output_dir, "--repo", repo, "--results", report)
    card = ModelCard(own_hub.files("models", repo)["README.md"].decode())
    assert "20 games of lmrl" in card.text
