"""Conversion of DeepMind's checkpoints: equal predictions from every form, and errors for other files."""

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import InputError
from eval.loading import load_model
from scripts.convert_searchless_chess import convert_checkpoint
from scripts.searchless_parameters import convert
from tests.models.test_model import LOAD_ELSEWHERE
from tests.scripts.test_orbax import ARRAYS, write_folders
from tests.support.commands import REPOSITORY, assert_input_error, run_checked, run_code


COMMAND = ["python", "scripts/convert_searchless_chess.py"]
FIXTURES = Path(__file__).parents[1] / "fixtures/searchless_chess"
ORBAX = FIXTURES / "orbax"
STEP = ORBAX / "6400000"
SAMPLE = REPOSITORY / "data/chess/sample"
NUM_HEADS = 4
CASES = [json.loads(line) for line in (FIXTURES / "cases.jsonl").open()]


def zipped(folder: Path, path: Path, root: str = "270M", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a folder to a zip as DeepMind's are: all below one folder."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir(root)
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path(root) / file.relative_to(folder))
    return path


def run_script(*options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *map(str, options)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def predictions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (cases, bins) and values (cases,) of the cases by the model in a folder."""
    model, tokenizer = load_model(folder, device="cpu")
    moves = [[case["move"]] for case in CASES]
    inputs = tokenizer.encode_positions([case["fen"] for case in CASES], moves, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    return output.logits[:, 0].log_softmax(-1).numpy(), output.value[:, 0].numpy()


@pytest.mark.parametrize(
    ("form", "weights", "expected"),
    [
        ("step", None, "log_probs_ema"),
        ("step", "params", "log_probs"),
        ("step", "params_ema", "log_probs_ema"),
        ("parent", "params", "log_probs"),
        ("set", None, "log_probs"),
        ("set", "params", "log_probs"),
        ("zip", None, "log_probs_ema"),
        ("zip", "params", "log_probs"),
        ("folders", "params", "log_probs"),
    ],
)
def test_every_form_of_a_checkpoint_predicts_as_deepmind_does(tmp_path, form, weights, expected):
    checkpoint = {"step": STEP, "parent": ORBAX, "set": STEP / "params"}.get(form)
    if form == "zip":
        checkpoint = zipped(ORBAX, tmp_path / "270M.zip")
    elif form == "folders":
        checkpoint = tmp_path / "checkpoint"
        write_folders(checkpoint / "100/params", ARRAYS)
    _, source = convert_checkpoint(checkpoint, tmp_path / "model", weights, NUM_HEADS)
    assert source.startswith(str(checkpoint))
    log_probs, values = predictions(tmp_path / "model")
    expected_log_probs = np.array([case[expected] for case in CASES])
    np.testing.assert_allclose(log_probs, expected_log_probs, rtol=0, atol=1e-5)
    edges = np.linspace(0, 1, 129)
    expected_values = np.inner(np.exp(expected_log_probs), (edges[:-1] + edges[1:]) / 2)
    np.testing.assert_allclose(values, expected_values, rtol=0, atol=1e-6)
    # No unpacked file stays in the model's folder.
    assert not any(path.is_dir() for path in (tmp_path / "model").iterdir())


def test_both_sets_of_weights_are_told_apart_by_the_cases():
    both = np.array([[case["log_probs"], case["log_probs_ema"]] for case in CASES])
    assert np.abs(both[:, 0] - both[:, 1]).max(axis=1).min() > 1e-2


@pytest.mark.slow
def test_a_converted_model_works_in_every_command_and_elsewhere(tmp_path):
    checkpoint, folder = zipped(ORBAX, tmp_path / "270M.zip"), tmp_path / "model"
    options = ("--checkpoint", checkpoint, "--output", folder, "--num-heads", NUM_HEADS)
    result = run_script(*options)
    assert result.returncode == 0, result.stderr
    assert "Writing model shards" not in result.stderr
    assert f"2 layers of width 32, 128 bins, read with 4 heads from {checkpoint}/" in result.stdout
    assert result.stdout.splitlines()[-2].endswith("270M/6400000/params_ema")
    config = json.loads((folder / "config.json").read_text())
    assert (config["attention"], config["value_loss"]) == ("full", "one_hot")
    assert json.loads((folder / "tokenizer_config.json").read_text())["orient"] is False

    case = CASES[0]
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    arguments = [folder, case["fen"], case["move"]]
    loaded = run_code(LOAD_ELSEWHERE, *arguments, folder=tmp_path, **environment)
    assert loaded.returncode == 0, loaded.stderr
    expected = np.exp(case["log_probs_ema"]) @ ((np.arange(128) + 0.5) / 128)
    assert json.loads(loaded.stdout.splitlines()[-1]) == pytest.approx([expected], abs=1e-6)

    scores = tmp_path / "scores.json"
    options = ("--model", folder, "--device", "cpu", "--limit", 6, "--json", scores)
    run_checked("eval.chess.actions", *options, "--data", SAMPLE / "test_boards.parquet")
    assert json.loads(scores.read_text())["num_boards"] == 6
    run_checked("eval.chess.puzzles", *options, "--puzzles", SAMPLE / "puzzles.csv")
    assert json.loads(scores.read_text())["num_puzzles"] == 6


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            ("--checkpoint", STEP, "--num-heads", "5"),
            ("32", "5 do not divide", "check --checkpoint and --num"),
        ),
        (("--checkpoint", "270M.zip"), ("270M.zip cannot be read: No such file or directory",)),
    ],
)
def test_the_command_ends_in_one_line(tmp_path, options, parts):
    assert_input_error(run_script(*options, "--output", tmp_path / "model"), *parts)
    assert not any(tmp_path.iterdir())


def refused(checkpoint: Path, output: Path, message: str, weights: str | None = None) -> None:
    """Assert that a checkpoint is refused with a message in one line, and nothing is left behind."""
    with pytest.raises(InputError, match=message) as error:
        convert_checkpoint(checkpoint, output, weights, NUM_HEADS)
    assert "\n" not in str(error.value)
    assert not output.exists() and not list(output.parent.glob(f".{output.name}*"))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    output = tmp_path / "model"
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", output, "holds no checkpoint of Orbax")
    refused(zipped(tmp_path / "empty", tmp_path / "9M.zip"), output, "holds no checkpoint of Orbax")


def test_several_steps_are_named(tmp_path):
    for step in ("900000", "6400000"):
        write_folders(tmp_path / "270M" / step / "params_ema", ARRAYS)
    message = "several checkpoints: give one of 6400000/params_ema, 900000/params_ema in it"
    refused(tmp_path / "270M", tmp_path / "model", message)


def test_weights_that_are_not_there_are_refused(tmp_path):
    output = tmp_path / "model"
    write_folders(tmp_path / "100/params", ARRAYS)
    refused(tmp_path / "100", output, "holds no params_ema, only params: see --weights")
    refused(STEP / "params", output, "holds no params_ema, only params: see --weights", "params_ema")


def test_parameters_that_do_not_make_a_model_are_refused(tmp_path):
    def refuses(arrays, message):
        with pytest.raises(ValueError, match=message):
            convert(arrays, NUM_HEADS)

    without = {name: array for name, array in ARRAYS.items() if name != "linear_6.b"}
    refuses(without, "'linear_6/b' is missing")
    refuses(ARRAYS | {"extra.w": np.zeros(3)}, "unexpected parameters extra/w")
    refuses({name: array for name, array in ARRAYS.items() if "linear" not in name}, "it has no layers")
    refuses(ARRAYS | {"linear_6.b": np.zeros(127)}, "size mismatch for head.weight")


def test_models_of_moves_are_refused(tmp_path):
    policy = {"linear_6.w": np.zeros((32, 1968), np.float32), "linear_6.b": np.zeros(1968, np.float32)}
    folder = write_folders(tmp_path / "100/params", ARRAYS | policy)
    refused(folder, tmp_path / "model", "predicts moves, not their values: give an action-value model")


def test_models_of_state_values_are_refused_by_their_name(tmp_path):
    output, message = (
        tmp_path / "model",
        r"9M_state_value/6400000/params_ema values states, not actions: give",
    )
    refused(zipped(ORBAX, tmp_path / "renamed.zip", root="9M_state_value"), output, message)
    folder = shutil.copytree(ORBAX, tmp_path / "9M_state_value")
    refused(folder, output, message)
    refused(folder / "6400000/params_ema", output, message)


def test_damaged_files_are_refused(tmp_path):
    output, archive = tmp_path / "model", zipped(ORBAX, tmp_path / "270M.zip", method=zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(archive, output, r"270M.zip is no .zip or damaged \(.+\): resume or repeat the download")
    # One bit within the weights, which Orbax's own format does not always notice.
    largest = max((STEP / "params_ema").rglob("d/*"), key=lambda path: path.stat().st_size)
    middle = whole.index(largest.read_bytes()) + largest.stat().st_size // 2
    archive.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refused(archive, output, "270M.zip is no .zip or damaged .*CRC")
    deflated = zipped(ORBAX, archive).read_bytes()
    with zipfile.ZipFile(archive) as opened:
        member = next(name for name in opened.namelist() if re.search("params_ema/d/.", name))
    start = deflated.index(member.encode()) + len(member)
    archive.write_bytes(deflated[:start] + b"\xff" + deflated[start + 1 :])
    refused(archive, output, "270M.zip is no .zip or damaged .*invalid block type")


def test_only_a_model_is_replaced_and_only_on_request(tmp_path):
    output = tmp_path / "model"
    convert_checkpoint(STEP, output, "params", NUM_HEADS)
    with pytest.raises(InputError, match=r"model exists: .*--overwrite"):
        convert_checkpoint(STEP, output, None, NUM_HEADS)
    log_probs, _ = predictions(output)
    with pytest.raises(InputError, match="do not divide"):
        convert_checkpoint(STEP, output, None, 5, overwrite=True)
    np.testing.assert_array_equal(predictions(output)[0], log_probs)
    convert_checkpoint(STEP, output, None, NUM_HEADS, overwrite=True)
    assert np.abs(predictions(output)[0] - log_probs).max() > 1e-2
    with pytest.raises(InputError, match="a folder without a model"):
        convert_checkpoint(STEP, tmp_path, None, NUM_HEADS, overwrite=True)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="file exists"):
        convert_checkpoint(STEP, file, None, NUM_HEADS)
    assert file.read_text() == "mine"
