"""An exported model: the same values from less memory, in small files, with a card of what was measured."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from eval.loading import load_model
from tests.support.commands import assert_input_error, run_command
from tests.support.training_runs import SAMPLE
from training.export import export


@pytest.fixture(scope="module")
def exported(pushed_run, tmp_path_factory):
    """A run, and the folder that its model was exported to."""
    output = tmp_path_factory.mktemp("exported") / "tiny"
    result = run_command("training.export", "--run", pushed_run, "--output", output)
    assert result.returncode == 0, result.stderr
    assert "repeat the command with --results" in result.stdout
    return pushed_run, output


def values(folder) -> torch.Tensor:
    model, tokenizer = load_model(folder, "cpu")
    start, moves = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", ["e2e4", "d2d4", "f2f3"]
    with torch.no_grad():
        return model(**tokenizer.encode_positions([start], [moves], return_tensors="pt")).value[0]


def test_it_is_the_model_rounded_to_bfloat16(exported):
    run, output = exported
    [weights] = output.glob("*.safetensors")
    original = load_file(run / "model/model.safetensors")
    rounded = load_file(weights)
    assert rounded.keys() == original.keys()
    for name, tensor in original.items():
        expected = tensor.bfloat16() if tensor.is_floating_point() else tensor
        assert torch.equal(rounded[name], expected), name
    size, full_size = weights.stat().st_size, (run / "model/model.safetensors").stat().st_size
    assert size < 0.75 * full_size
    torch.testing.assert_close(values(output), values(run / "model"), rtol=0, atol=0.01)
    assert not torch.equal(values(output), values(run / "model"))


def test_weights_that_need_several_files_load_from_them(exported, tmp_path, monkeypatch):
    run, _ = exported
    export(run, tmp_path / "model", torch.float32, 1, "")
    whole = values(tmp_path / "model")
    monkeypatch.setattr("training.export.MEGABYTE", 1e5)
    export(run, tmp_path / "model", torch.float32, 1, "")
    files = list((tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 1
    # The embedding of all moves fills a file by itself.
    assert sorted(file.stat().st_size for file in files)[-2] <= 1.1e5
    assert torch.equal(values(tmp_path / "model"), whole)


def test_its_card_holds_what_was_measured_of_it(exported, tmp_path):
    run, output = exported
    measured = tmp_path / "actions.json"
    evaluation = run_command(
        "eval.chess.actions", "--model", output, "--data", SAMPLE, "--limit", 20, "--json", measured
    )
    assert evaluation.returncode == 0, evaluation.stderr
    note = "Trained in a second on a laptop."
    result = run_command(
        *("training.export", "--run", run, "--output", output, "--results", measured, "--note", note)
    )
    assert result.returncode == 0, result.stderr
    card = ModelCard.load(output / "README.md")
    [kl] = [result for result in card.data.eval_results if result.metric_type == "kl"]
    assert kl.metric_value == json.loads(measured.read_text())["kl"]
    assert note in card.text
    assert f'from_pretrained("{output}"' in card.text


def test_results_of_the_run_before_rounding_are_not_its_own(exported, tmp_path):
    run, output = exported
    measured = tmp_path / "actions.json"
    arguments = ("--data", SAMPLE, "--limit", 20, "--json", measured)
    assert run_command("eval.chess.actions", "--model", run / "model", *arguments).returncode == 0
    result = run_command("training.export", "--run", run, "--output", output, "--results", measured)
    assert_input_error(result, str(measured), f"evaluate {output} again")


def test_results_of_other_weights_are_refused(exported, tmp_path):
    run, output = exported
    measured = tmp_path / "actions.json"
    own = tmp_path / "tiny"
    shutil.copytree(output, own)
    arguments = ("--data", SAMPLE, "--limit", 20, "--json", measured)
    assert run_command("eval.chess.actions", "--model", own, *arguments).returncode == 0
    put = ("training.export", "--run", run, "--output", own, "--results", measured)
    assert run_command(*put).returncode == 0
    # Trained on, they are others, and so are they rounded otherwise.
    later = tmp_path / "later"
    shutil.copytree(run, later)
    weights = load_file(later / "model/model.safetensors")
    weights["head.bias"] += 1
    save_file(weights, later / "model/model.safetensors", metadata={"format": "pt"})
    assert_input_error(run_command(*put[:2], later, *put[3:]), "other weights")
    assert_input_error(run_command(*put, "--dtype", "float32"), "other weights")
    assert run_command("training.export", "--run", run, "--output", own, "--dtype", "float32").returncode == 0
    assert_input_error(run_command(*put, "--dtype", "float32"), str(measured), f"evaluate {own} again")
    card = ModelCard.load(own / "README.md")
    assert not card.data.eval_results


def test_nothing_of_this_machine_is_exported(exported):
    run, output = exported
    for file in output.iterdir():
        if file.suffix in (".md", ".yaml", ".json"):
            assert str(run) not in file.read_text().replace(str(output), "")
            assert str(SAMPLE.parent) not in file.read_text()
    assert str(SAMPLE.parent) not in (output / "settings.yaml").read_text()


def test_what_is_no_exported_model_is_not_replaced(exported, tmp_path):
    run, _ = exported
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("Once upon a time")
    result = run_command("training.export", "--run", run, "--output", tmp_path / "thesis")
    assert_input_error(result, "thesis", "no exported model")
    assert (tmp_path / "thesis/chapter.tex").read_text() == "Once upon a time"
    shutil.copytree(run / "model", tmp_path / "model")
    assert_input_error(
        run_command("training.export", "--run", run, "--output", tmp_path / "model"), "no exported"
    )


def test_where_no_folder_can_be_nothing_is_exported(exported):
    run, _ = exported
    assert_input_error(run_command("training.export", "--run", run, "--output", "LICENSE/model"), "LICENSE")


def test_of_a_run_from_before_boards_were_rotated_the_settings_say_so(exported, tmp_path):
    run, _ = exported
    older = tmp_path / "older"
    shutil.copytree(run, older)
    settings = (run / "config.yaml").read_text()
    assert "  board_rotation: true\n" in settings
    (older / "config.yaml").write_text(settings.replace("  board_rotation: true\n", ""))
    assert run_command("training.export", "--run", older, "--output", tmp_path / "model").returncode == 0
    assert "  board_rotation: false\n" in (tmp_path / "model/settings.yaml").read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
    result = run_command("training.export", "--run", tmp_path, "--output", tmp_path / "model")
    assert_input_error(result, "no config.yaml")
