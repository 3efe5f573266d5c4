"""The study of plasticity: what it learns, that it goes on where it was, and what it finds."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from cli.errors import InputError
from cli.options import write_json
from studies.plastic_network import (
    BIASES,
    STAGES,
    TARGET,
    ConvNet,
    PlasticityConfig,
    batches,
    made_images,
    random_network,
    random_targets,
    read_images,
    train,
)
from studies.plasticity import PlasticityRun
from tests.support.commands import assert_input_error, run_command


def test_made_images_have_the_spectrum_of_photographs():
    images = made_images(300)
    assert images.shape == (300, 3, 32, 32) and images.dtype == np.uint8
    power = (np.abs(np.fft.rfft2(images - images.mean(axis=(2, 3), keepdims=True))) ** 2).mean(axis=(0, 1))
    frequencies = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
    inner = (frequencies > 0) & (frequencies < 0.4)
    slope = np.polyfit(np.log(frequencies[inner]), np.log(power[inner]), 1)[0]
    assert -2.3 < slope < -1.5  # amplitudes ~ 1 / f, but for what is clipped
    red, green = images[:, 0].ravel() / 255, images[:, 1].ravel() / 255
    assert np.corrcoef(red, green)[0, 1] > 0.5
    np.testing.assert_array_equal(made_images(1001)[:300], images)


def test_targets_are_noise_and_new_for_every_stage_and_seed():
    images = torch.as_tensor(made_images(400))
    first, *others = (
        random_targets(images, random_network(4, 1, seed, TARGET, stage))
        for seed, stage in ((0, 0), (0, 1), (1, 0))
    )
    # The sine of a random angle.
    assert abs(float(first.mean())) < 0.15 and 0.4 < float(first.var()) < 0.6
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
    torch.testing.assert_close(random_targets(images, random_network(4, 1, 0, TARGET, 0)), first)
    # The random numbers of whoever asks go on as they would have.
    torch.manual_seed(3)
    random_network(4, 1, 0)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.rand(1) == drawn


@pytest.mark.parametrize("fresh", [False, True])
def test_no_network_starts_as_another_of_its_run(tmp_path, monkeypatch, fresh):
    weights = []

    def recorded(*arguments):
        network = random_network(*arguments)
        weights.append(network.convolutions[0].weight.detach().clone())
        return network

    monkeypatch.setattr("studies.plastic_network.random_network", recorded)
    train(PlasticityConfig("mse", 0, fresh, 4, 1, 8, num_images=8), tmp_path, torch.device("cpu"))
    # A target for each stage, and a learner, or one for each.
    assert len(weights) == len(BIASES) + (len(BIASES) if fresh else 1)
    assert not any(torch.equal(first, second) for first, second in combinations(weights, 2))


def test_all_losses_see_the_same_batches_of_a_seed(tmp_path, monkeypatch):
    seen = {}
    for loss, seed in (("mse", 0), ("hl_gauss", 0), ("mse", 1)):
        places = seen[loss, seed] = []

        def recorded(*arguments, places=places):
            for batch in batches(*arguments):
                places.append(batch.tolist())
                yield batch

        monkeypatch.setattr("studies.plastic_network.batches", recorded)
        train(PlasticityConfig(loss, seed, False, 4, 2, 8, num_images=20), tmp_path, torch.device("cpu"))
        (tmp_path / STAGES).unlink()
    assert seen["mse", 0] == seen["hl_gauss", 0] != seen["mse", 1]


def test_every_image_comes_once_in_an_epoch():
    order = torch.Generator().manual_seed(0)
    drawn = torch.stack(list(batches(10, 4, 5, order)))
    assert drawn.shape == (5, 4)
    flat = drawn.flatten()
    assert sorted(flat[:10].tolist()) == sorted(flat[10:].tolist()) == list(range(10))
    assert flat[:10].tolist() != flat[10:].tolist()


def test_a_run_tells_the_share_of_the_variance_that_it_did_not_learn(tmp_path):
    config = PlasticityConfig("mse", 0, width=8, steps=300, batch_size=32, num_images=32)
    result = train(config, tmp_path, torch.device("cpu"))
    assert [stage["bias"] for stage in result["stages"]] == list(BIASES)
    assert result["stages"][0]["error"] < 0.5  # 32 images are soon learnt by heart
    (tmp_path / STAGES).unlink()
    lazy = train(PlasticityConfig("mse", 0, False, 8, 1, 32, 1e-30, 32), tmp_path, torch.device("cpu"))
    # What predicts about 0 errs by b² more than the variance of a sine, which is about 1/2.
    assert lazy["stages"][1]["error"] == pytest.approx(1 + 8**2 / 0.5, rel=0.3)
    assert result["parameters"] == sum(p.numel() for p in ConvNet(8, 1).parameters())


def errors_of(result: dict) -> list[float]:
    return [stage["error"] for stage in result["stages"]]


@pytest.mark.parametrize("fresh", [False, True])
def test_it_goes_on_after_the_stages_that_are_done(tmp_path, monkeypatch, fresh):
    config = PlasticityConfig("hl_gauss", 1, fresh, width=4, steps=20, batch_size=8, num_images=20)
    whole = train(config, tmp_path, torch.device("cpu"))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 20 * len(BIASES) + 1))

    (tmp_path / STAGES).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("studies.plastic_network.BIASES", BIASES[:2])
        train(config, tmp_path, torch.device("cpu"))
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 41, "bias": 16, "loss": 0.1}\n{"step": 42')  # of the stage that was interrupted
    resumed = train(config, tmp_path, torch.device("cpu"))
    assert errors_of(resumed) == errors_of(whole)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows
    # The hours of other settings are not thrown away.
    other = PlasticityConfig("hl_gauss", 2, fresh, width=4, steps=20, batch_size=8, num_images=20)
    with pytest.raises(InputError, match="other settings: seed: 1, now 2: choose another place"):
        train(other, tmp_path, torch.device("cpu"))
    (tmp_path / STAGES).write_text("?")
    with pytest.raises(InputError, match=r"stages\.pt is damaged: delete it"):
        train(config, tmp_path, torch.device("cpu"))


def test_a_fresh_network_has_forgotten_the_stages_before(tmp_path):
    found = []
    for fresh in (False, True):
        config = PlasticityConfig("mse", 0, fresh, width=4, steps=20, batch_size=8, num_images=20)
        found.append(train(config, tmp_path, torch.device("cpu")))
        (tmp_path / STAGES).unlink()
    plain, fresh = found
    assert errors_of(plain)[0] == errors_of(fresh)[0]
    # It starts near 0, and a few steps do not bring it to the bias.
    assert errors_of(fresh)[4] > errors_of(plain)[4]


def test_a_network_that_diverges_is_no_result(tmp_path):
    config = PlasticityConfig("mse", 0, False, 4, 20, 8, learning_rate=1e30, num_images=20)
    with pytest.raises(InputError, match="after the stage of bias 0: lower --learning-rate"):
        train(config, tmp_path, torch.device("cpu"))


def test_images_are_read_as_they_are_published(tmp_path):
    import datasets
    from PIL import Image

    arrays = made_images(6).transpose(0, 2, 3, 1)
    rows = datasets.Dataset.from_dict({"img": [Image.fromarray(array) for array in arrays], "label": [0] * 6})
    (tmp_path / "images").mkdir()
    rows.to_parquet(tmp_path / "images/train.parquet")
    np.testing.assert_array_equal(read_images(str(tmp_path / "images"), 4), made_images(6)[:4])
    with pytest.raises(InputError, match="has 6 images: give --num-images 6 or fewer"):
        read_images(str(tmp_path / "images"), 7)
    arrays = [*arrays[:3], arrays[3][:30]]
    rows = datasets.Dataset.from_dict({"img": [Image.fromarray(array) for array in arrays]})
    (tmp_path / "other").mkdir()
    rows.to_parquet(tmp_path / "other/train.parquet")
    with pytest.raises(InputError, match="one is 32 × 30: give images of 32 × 32"):
        read_images(str(tmp_path / "other"), 4)
    with pytest.raises(InputError, match="cannot be loaded"):
        read_images(str(tmp_path / "nowhere"), 7)


@pytest.mark.slow
def test_after_jumps_mse_errs_more_than_hl_gauss(tmp_path):
    """The paper's finding, on stated seeds, at a size of seconds; and the command keeps what it has."""
    line = ["studies.plasticity", "--output", tmp_path / "out", "--quick", "--variants", "mse", "hl_gauss"]
    line += ["--seeds", "0", "1"]
    result = run_command(*line)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    error = {(row["variant"], row["point"]): row["error"]["mean"] for row in results["groups"]}
    # Both learn the first stage. MSE errs as much after every jump.
    assert max(error["mse", "0"], error["hl_gauss", "0"]) < 0.3
    late = ("8", "16", "24", "32")
    assert (
        np.mean([error["mse", bias] for bias in late])
        > np.mean([error["hl_gauss", bias] for bias in late]) + 0.2
    )
    assert (tmp_path / "out/report.png").stat().st_size > 10_000
    assert (tmp_path / "out/report.md").read_text() in result.stdout
    again = run_command(*line)
    assert "4 cells, 4 of them trained already" in again.stdout and "is trained" not in again.stdout
    assert_input_error(run_command(*line, "--steps", 510), "other settings: steps: 500, now 510")
    (tmp_path / "out/mse-seed1/result.json").write_text("{")
    assert_input_error(run_command(*line), "mse-seed1/result.json is damaged: delete it")


def test_a_result_of_other_settings_or_damaged_is_refused(tmp_path):
    config = PlasticityConfig("mse", 0, False, 4, 2, 8, num_images=20)
    run = PlasticityRun(tmp_path, 10, "mse", config, "cpu")
    whole = train(config, tmp_path, torch.device("cpu"))
    write_json(run.result, whole)
    assert run.read() == whole
    with pytest.raises(InputError, match="other settings: steps: 2, now 3"):
        replace(run, config=replace(config, steps=3)).read()
    errors_as_text = [stage | {"error": "0"} for stage in whole["stages"]]
    for damaged in (
        [],
        {"settings": [], "parameters": 1, "stages": []},
        {key: value for key, value in whole.items() if key != "parameters"},
        whole | {"stages": whole["stages"][:4]},
        whole | {"stages": errors_as_text},
    ):
        write_json(run.result, damaged)
        with pytest.raises(InputError, match=r"result\.json is damaged: delete it"):
            run.read()
    run.result.write_text("{")
    with pytest.raises(InputError, match=r"result\.json is damaged: delete it"):
        run.read()


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["--variants", "mae"], ["--variants", "no 'mae'", "hl_gauss_fresh"]),
        (["--seeds", "4294967296"], ["--seeds", "'4294967296' is not a whole number from 0 to 2**32 - 1"]),
        (["--seeds", "x"], ["--seeds", "'x'"]),
        (["--device", "abacus"], ["device 'abacus' cannot be used"]),
    ],
    ids=" ".join,
)
def test_bad_input_gives_one_line(tmp_path, line, parts):
    assert_input_error(run_command("studies.plasticity", "--output", tmp_path / "out", *line), *parts)
    assert not (tmp_path / "out").exists()
