"""The plasticity study: its task, how it continues, and its result."""

import json
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest
import torch

from cli.errors import InputError
from studies.plastic_network import (
    BIASES,
    STAGES,
    TARGET,
    ConvNet,
    PlasticityConfig,
    batches,
    random_network,
    random_targets,
    read_images,
    synthetic_images,
    train,
)
from tests.support.commands import assert_input_error, run_checked, run_command


def test_synthetic_images_have_the_spectrum_of_photographs():
    images = synthetic_images(300)
    assert images.shape == (300, 3, 32, 32) and images.dtype == np.uint8
    power = (np.abs(np.fft.rfft2(images - images.mean(axis=(2, 3), keepdims=True))) ** 2).mean(axis=(0, 1))
    frequencies = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
    inner = (frequencies > 0) & (frequencies < 0.4)
    slope = np.polyfit(np.log(frequencies[inner]), np.log(power[inner]), 1)[0]
    assert -2.3 < slope < -1.5  # amplitudes ~ 1 / f, but for what is clipped
    red, green = images[:, 0].ravel() / 255, images[:, 1].ravel() / 255
    assert np.corrcoef(red, green)[0, 1] > 0.5
    np.testing.assert_array_equal(synthetic_images(1001)[:300], images)


def test_targets_are_noise_and_new_for_every_stage_and_seed():
    images = torch.as_tensor(synthetic_images(400))
    first, *others = (
        random_targets(images, random_network(4, 1, seed, TARGET, stage))
        for seed, stage in ((0, 0), (0, 1), (1, 0))
    )
    # The sine of a random angle.
    assert abs(float(first.mean())) < 0.15 and 0.4 < float(first.var()) < 0.6
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
    torch.testing.assert_close(random_targets(images, random_network(4, 1, 0, TARGET, 0)), first)
    # The global random state does not change.
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
        indices = seen[loss, seed] = []

        def recorded(*arguments, indices=indices):
            for batch in batches(*arguments):
                indices.append(batch.tolist())
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


@pytest.mark.slow
def test_the_error_is_the_fraction_of_the_variance_that_is_not_learnt(tmp_path):
    config = PlasticityConfig("mse", 0, width=8, steps=60, batch_size=32, num_images=32)
    result = train(config, tmp_path, torch.device("cpu"))
    assert [stage["bias"] for stage in result["stages"]] == list(BIASES)
    assert result["stages"][0]["error"] < 0.5  # 32 images are soon memorised
    (tmp_path / STAGES).unlink()
    lazy = train(PlasticityConfig("mse", 0, False, 8, 1, 32, 1e-30, 32), tmp_path, torch.device("cpu"))
    # A prediction of about 0 has a squared error of b² plus the variance of a sine, which is about 1/2.
    assert lazy["stages"][1]["error"] == pytest.approx(1 + 8**2 / 0.5, rel=0.3)
    assert result["parameters"] == sum(p.numel() for p in ConvNet(8, 1).parameters())


def errors_of(result: dict) -> list[float]:
    return [stage["error"] for stage in result["stages"]]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_continues_after_the_stages_that_are_done(tmp_path, monkeypatch, fresh):
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
    other = PlasticityConfig("hl_gauss", 2, fresh, width=4, steps=20, batch_size=8, num_images=20)
    with pytest.raises(InputError, match="other settings: seed: 1, now 2: delete it"):
        train(other, tmp_path, torch.device("cpu"))


def test_a_fresh_network_has_forgotten_the_stages_before(tmp_path):
    found = []
    for fresh in (False, True):
        config = PlasticityConfig("mse", 0, fresh, width=4, steps=20, batch_size=8, num_images=20)
        found.append(train(config, tmp_path, torch.device("cpu")))
        (tmp_path / STAGES).unlink()
    plain, fresh = found
    assert errors_of(plain)[0] == errors_of(fresh)[0]
    # A new network predicts about 0, and a few steps do not reach the bias.
    assert errors_of(fresh)[4] > errors_of(plain)[4]


def test_a_diverging_network_is_an_error(tmp_path):
    config = PlasticityConfig("mse", 0, False, 4, 20, 8, learning_rate=1e30, num_images=20)
    with pytest.raises(InputError, match="after the stage of bias 0: lower --learning-rate"):
        train(config, tmp_path, torch.device("cpu"))


def test_images_are_read_as_they_are_published(tmp_path):
    import datasets
    from PIL import Image

    arrays = synthetic_images(6).transpose(0, 2, 3, 1)
    rows = datasets.Dataset.from_dict({"img": [Image.fromarray(array) for array in arrays], "label": [0] * 6})
    (tmp_path / "images").mkdir()
    rows.to_parquet(tmp_path / "images/train.parquet")
    np.testing.assert_array_equal(read_images(str(tmp_path / "images"), 4), synthetic_images(6)[:4])
    with pytest.raises(InputError, match="only 6 images: reduce --num-images"):
        read_images(str(tmp_path / "images"), 7)
    arrays = [*arrays[:3], arrays[3][:30]]
    rows = datasets.Dataset.from_dict({"img": [Image.fromarray(array) for array in arrays]})
    (tmp_path / "other").mkdir()
    rows.to_parquet(tmp_path / "other/train.parquet")
    with pytest.raises(InputError, match="image 3 is 32 × 30: use images of 32 × 32"):
        read_images(str(tmp_path / "other"), 4)
    with pytest.raises(InputError, match="cannot be loaded"):
        read_images(str(tmp_path / "nowhere"), 7)


@pytest.mark.slow
def test_after_jumps_mse_errs_more_than_hl_gauss(tmp_path):
    """The paper's finding, for this seed, at a size of seconds; and finished cells are kept."""
    line = ["studies.plasticity", "--output", tmp_path / "out", "--quick", "--variants", "mse", "hl_gauss"]
    line += ["--seeds", "0", "--steps", "400", "--batch-size", "32", "--num-images", "64"]
    printed = run_checked(*line)
    results = json.loads((tmp_path / "out/results.json").read_text())
    error = {
        (row["variant"], row["point"]): row["mean"] for row in results["means"] if row["measure"] == "error"
    }
    # Both learn the first stage. MSE errs as much after every jump.
    assert max(error["mse", "0"], error["hl_gauss", "0"]) < 0.3
    late = ("8", "16", "24", "32")
    assert (
        np.mean([error["mse", bias] for bias in late])
        > np.mean([error["hl_gauss", bias] for bias in late]) + 0.2
    )
    assert (tmp_path / "out/report.png").stat().st_size > 10_000
    assert (tmp_path / "out/report.md").read_text() in printed
    again = run_command(*line)
    assert "2 cells, 2 of them trained already" in again.stdout and "is trained\n" not in again.stdout
    assert_input_error(run_command(*line, "--steps", 410), "other settings: steps: 400, now 410")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["--variants", "mae"], ["--variants: 'mae' is unknown", "hl_gauss_fresh"]),
        (["--device", "abacus"], ["device 'abacus' cannot be used"]),
    ],
    ids=" ".join,
)
def test_bad_input_gives_one_line(tmp_path, line, parts):
    assert_input_error(run_command("studies.plasticity", "--output", tmp_path / "out", *line), *parts)
    assert not (tmp_path / "out").exists()


def test_images_of_a_hub_that_cannot_be_reached_are_refused_before_any_run(tmp_path):
    line = ["--output", tmp_path / "out", "--images", "user/name"]
    result = run_command("studies.plasticity", *line, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert_input_error(result, "user/name: no such file or folder; Cannot resolve revision")
    assert not (tmp_path / "out").exists()


def test_a_finished_study_is_reported_without_its_images(tmp_path):
    config = PlasticityConfig("mse", 0, images="user/name")
    stages = [{"bias": bias, "error": 0.1, "seconds": 1.0} for bias in BIASES]
    (tmp_path / "mse-seed0").mkdir()
    finished = {"settings": asdict(config), "parameters": 9, "stages": stages}
    (tmp_path / "mse-seed0/result.json").write_text(json.dumps(finished))
    line = ["--output", tmp_path, "--images", "user/name", "--variants", "mse", "--seeds", "0"]
    printed = run_checked("studies.plasticity", *line, HF_ENDPOINT="http://127.0.0.1:9")
    assert "1 cells, 1 of them trained already" in printed and (tmp_path / "report.md").exists()
