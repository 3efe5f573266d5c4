"""Studies: what a definition may say, for how many steps variants are trained, and what is measured again."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import InputError, command
from configs.schema import save_config
from models.tokenization_chess import ChessTokenizer
from studies import main
from studies.cells import Cells, Place, steps_of_same_time
from studies.chess import CertainMoves, HeldOutBoards, StudiedChess
from studies.commands import choose, describe_training
from studies.definition import STUDY_FOLDER, Study, read_study
from studies.measurements import Measure, measure_once
from studies.summary import measure_cell
from studies.train_runs import Run
from tests.eval.chess.test_engines import tiny_model
from tests.support.commands import REPOSITORY
from tests.support.easy_boards import easy_file
from tests.support.random_boards import random_file
from tests.support.training_runs import SAMPLE


DEEP = "deep: {model.num_hidden_layers: 3, optimizer.beta1: 0.8}"
STUDY = f"""
title: What does it do?
config: chess_tiny.yaml
settings:
  model: {{hidden_size: 16, num_attention_heads: 2}}
  data: {{train: {SAMPLE}, validation: {SAMPLE}}}
  training.steps: 200
  training.batch_size: 10
quick: {{training: {{steps: 20, warmup_steps: 2}}, model.num_hidden_layers: 1}}
seeds: [0, 3]
reference: prefix
variants:
  prefix: {{}}
  full: {{model.attention: full}}
  as_long: {{same_time_as: full, evaluation.every: 40}}
  {DEEP}
"""


@pytest.fixture
def study_file(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def place(study: Study, variant: str, seed: int, point: str = "") -> Place:
    return Place(study.variants[variant], study.points[point], seed)


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
@pytest.mark.parametrize("path", sorted(STUDY_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_study_can_be_trained(tmp_path, path, quick):
    study = read_study(path.stem)
    cells = Cells(study, tmp_path, quick, ["data.train=boards.parquet"])
    for variant in study.variants.values():
        for point in study.points.values():
            assert cells.make(Place(variant, point, seed=0)).run.num_steps > 0
    assert not list(tmp_path.iterdir())


def test_settings_of_variants_win_over_those_of_all_and_quick_ones_over_both(study_file, tmp_path):
    study = read_study(str(study_file))
    cell = Cells(study, tmp_path, False, ["optimizer.name=adamw"]).make(place(study, "deep", 3))
    assert (cell.run.name, cell.config.seed, cell.run.num_steps) == ("deep-seed3", 3, 200)
    assert (cell.config.model.hidden_size, cell.config.optimizer.name) == (16, "adamw")
    assert (cell.config.model.num_hidden_layers, cell.config.optimizer.beta1) == (3, 0.8)
    quick = Cells(study, tmp_path, True, ["training.steps=30"]).make(place(study, "deep", 0)).config
    assert (quick.model.num_hidden_layers, quick.optimizer.beta1) == (1, 0.8)
    # The command line knows best.
    assert (quick.training.steps, quick.training.warmup_steps) == (30, 2)


def test_every_variant_is_trained_at_every_point(study_file, tmp_path):
    points = "across: {title: n, points: {few: {training.steps: 30}, many: {training: {steps: 60}}}}\n"
    study_file.write_text(STUDY.replace("reference:", points + "reference:"))
    study = read_study(str(study_file))
    assert (study.points_title, study.figure, list(study.points)) == ("n", "lines", ["few", "many"])
    cells = Cells(study, tmp_path, False, [])
    full = [cells.make(place(study, "full", 3, point)) for point in study.points]
    assert [(cell.run.name, cell.run.num_steps) for cell in full] == [
        ("full-few-seed3", 30), ("full-many-seed3", 60),
    ]  # fmt: skip
    assert {cell.config.model.attention for cell in full} == {"full"}
    with pytest.raises(InputError, match=r"point few sets its own training\.steps"):
        Cells(study, tmp_path, False, ["training.steps=3"])


@pytest.mark.parametrize(
    ("text", "changed", "parts"),
    [
        ("title:", "titel:", ["Key 'titel' not in", "Did you mean: 'title'?"]),
        ("title: What does it do?", "", ["title is not set"]),
        ("seeds: [0, 3]", "seeds: [0, many]", ["seeds[1]", "'many'"]),
        ("seeds: [0, 3]", "seeds: []", ["seeds: there are none"]),
        ("seeds: [0, 3]", "seeds: [-1]", ["seed must be from 0"]),
        ("reference: prefix", "reference: none", ["reference: there is no variant 'none'", "prefix, full"]),
        ("deep: {model.num_hidden_layers", "deep: {model.layers", ["variants.deep.model.layers", "'layers'"]),
        (DEEP, "deep: 3", ["variants.deep", "Value 3 (int)"]),
        (DEEP, "deep: {seed: 3}", ["variants.deep.seed", "leave it out"]),
        (DEEP, "deep: {data.validation: x}", ["variants.deep", "for all"]),
        (DEEP, "deep: {model.attention: no}", ["deep.model.attention"]),
        (DEEP, "a/b: {}", ["'a/b' cannot name a folder"]),
        ("hidden_size: 16", "hidden_size: wide", ["settings.model.hidden_size", "'wide'"]),
        ("hidden_size: 16", "hidden_size: 15", ["prefix-seed0: ", "do not go together"]),
        ("quick: {training: {steps", "quick: {training: {stps", ["quick.training.stps", "'stps'"]),
        ("same_time_as: full", "same_time_as: fall", ["variants.as_long.same_time_as", "no variant 'fall'"]),
        ("same_time_as: full", "same_time_as: as_long", ["as_long has a same_time_as of its own"]),
        (
            "same_time_as: full,",
            "same_time_as: full, model.attention: causal,",
            ["no other variant", "add it"],
        ),
        ("config: chess_tiny.yaml", "config: nowhere.yaml", ["no configuration 'nowhere.yaml'"]),
        ("config: chess_tiny.yaml", "config: wordle_tiny.yaml", ["data.validation is for task chess"]),
        (
            "reference:",
            "measurements: [weight]\nreference:",
            ["no 'weight'", "held_out_boards, held_out_values, certain_moves"],
        ),
        ("reference:", "across: {title: n, points: {}}\nreference:", ["across.points: there are none"]),
        (
            "reference:",
            "across: {title: n, points: {x: {}}, usual: [y]}\nreference:",
            ["across.usual: there is no point 'y': give some of x"],
        ),
        (
            "reference:",
            "across: {title: n, points: {x: {}}, baseline: y}\nreference:",
            ["across.baseline: there is no point 'y': give one of x"],
        ),
        (
            DEEP,
            "prefix-x: {}\nacross: {title: n, points: {x: {}, x-x: {}}}",
            ["two of them are called prefix-x-x"],
        ),
        ("reference:", "across: {points: {a: {}}}\nreference:", ["across.title is not set"]),
        (
            "reference:",
            "across: {title: n, points: {a: {model.attention: causal}}}\nreference:",
            ["across.points.a: model.attention is set by variant full too"],
        ),
        ("reference:", "across: {title: n, points: {a: {seed: 1}}}\nreference:", ["across.points.a.seed"]),
        ("variants:", "variants: [", ["not valid YAML"]),
        (STUDY, "[1, 2]", ["expected lines of key: value"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_definition_gives_one_line_and_trains_nothing(
    study_file, tmp_path, monkeypatch, capsys, text, changed, parts
):
    assert STUDY.count(text) == 1
    study_file.write_text(STUDY.replace(text, changed))
    assert_refused([study_file], tmp_path, parts, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["training.stps=3"], ["training.stps", "Did you mean: 'steps'?"]),
        (["training.gradient_accumulation_steps=3"], ["training.batch_size: a batch of 10", "of 3"]),
        (["seed=3"], ["seed=3", "--seeds"]),
        (["model.attention=causal"], ["variant full sets its own model.attention"]),
        (["data.train=nowhere.parquet"], ["nowhere.parquet", "no such file"]),
        (["data.validation=null"], ["data.validation is not set"]),
        (["--puzzles", "nowhere.csv"], ["nowhere.csv", "no such file"]),
        (["--seeds", "1.5"], ["--seeds", "'1.5'"]),
        (["--seeds", "training.steps=3"], ["--seeds lists nothing"]),
        (["--seeds=training.steps=3"], ["--seeds lists nothing"]),
        # Of two for one key the later counts, also behind the values of an option.
        (["training.steps=5", "--seeds", "0", "training.steps=-3"], ["training.steps", "-3"]),
        (
            ["training.steps=-3", "--seeds", "0", "training.steps=5", "training.steps=-3"],
            ["training.steps", "-3"],
        ),
        (["--variants", "prefix", "pass"], ["--variants", "'pass'", "prefix, full, as_long, deep"]),
        (["--points", "one"], ["--points", "'one'", "none in this study"]),
        (["--games", "games.parquet"], ["--games is not for chess"]),
        (["--variants", "as_long"], ["as_long needs the time of full-seed0", "add full to --variants"]),
        (["--variants", "as_long", "full"], ["as_long needs the time of prefix-seed0"]),
        (["--output", "README.md"], ["README.md is a file, not a folder"]),
        (["--device", "abacus"], ["device 'abacus' cannot be used"]),
    ],
    ids=" ".join,
)
def test_bad_input_gives_one_line_and_trains_nothing(study_file, tmp_path, monkeypatch, capsys, line, parts):
    settings = [f"data.prepared_dir={tmp_path / 'prepared'}"]
    assert_refused([study_file, *settings, *line], tmp_path, parts, monkeypatch, capsys)


def test_a_study_that_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    assert_refused(["two_pass"], tmp_path, ["no study 'two_pass'", "one_pass"], monkeypatch, capsys)


def assert_refused(line: list, tmp_path: Path, parts: list[str], monkeypatch, capsys) -> None:
    """Assert that the command, run in this process, ends with status 2 and one line that holds all parts."""
    output = tmp_path / "out"
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["study", "--output", str(output), *map(str, line)])
    with pytest.raises(SystemExit, match="2"):
        command(main)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not output.exists()


def test_the_same_time_is_a_number_of_steps():
    assert steps_of_same_time(200, seconds=10.0, other_seconds=219.96) == 4399
    assert steps_of_same_time(200, seconds=10.0, other_seconds=10.0) == 200
    assert steps_of_same_time(2, seconds=10.0, other_seconds=1.0) == 1


@pytest.fixture
def studied(study_file, tmp_path) -> tuple[Cells, StudiedChess]:
    """The cells of a study and its task, on few boards."""
    boards = tmp_path / "boards.parquet"
    random_file(boards, 30)
    settings = [f"data.train={boards}", f"data.validation={boards}"]
    cells = Cells(read_study(str(study_file)), tmp_path / "out", False, settings)
    return cells, StudiedChess(cells.shared_config(), None, None, torch.device("cpu"))


def finish(cells: Cells, name: str, seed: int, rates: list[float]) -> None:
    """Leave what a finished run of a variant would that logged these rates."""
    cell = cells.make(place(cells.study, name, seed))
    (cell.run.folder / "model").mkdir(parents=True)
    save_config(cell.config, cell.run.folder / "config.yaml")
    rows = [{"step": 0, "kind": "eval", "kl": 3.0}]
    rows += [
        {"step": step, "kind": "train", "values_per_second": rate} for step, rate in enumerate(rates, start=1)
    ]
    (cell.run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_variant_takes_the_time_of_another_with_the_same_seed(studied):
    cells, task = studied
    # The first steps are slow, and so may be those after a run was resumed; both count as others do.
    finish(cells, "prefix", 0, [3.0, 1000.0, 990.0, 2.0, 1010.0])
    finish(cells, "full", 0, [1.0, 50.0, 50.0, 50.0, 1.0])
    finish(cells, "full", 3, [100.0])
    with pytest.raises(InputError, match="needs the time of prefix-seed3, which is not trained"):
        cells.make_timed(place(cells.study, "as_long", 3), task)
    finish(cells, "prefix", 3, [1000.0])
    made = [cells.make_timed(place(cells.study, "as_long", seed), task) for seed in (0, 3)]
    assert [cell.run.num_steps for cell in made] == [4000 * 990 // 1000, 2000]
    assert made[1].config.training.steps == 2000 and made[1].config.evaluation.every == 40


def test_training_seconds_are_those_of_all_steps_at_the_median_rate(studied):
    cells, task = studied
    finish(cells, "prefix", 0, [3.0, 1000.0, 500.0, 800.0, 900.0])
    cell = cells.make(place(cells.study, "prefix", 0))
    seen = task.seen(cell.config)
    assert seen.examples == 200 * 10
    boards = task.measurements[0].boards
    assert seen.values == pytest.approx(2000 * boards.num_action_values / boards.num_boards)
    assert cell.training_seconds(task) == pytest.approx(seen.values / 800)
    cell.config.data.example = "action"
    assert task.seen(cell.config).values == 2000
    assert task.seen(cell.config).examples == pytest.approx(2000 * seen.examples / seen.values)


def test_curves_on_other_data_are_left_out(studied, tmp_path):
    cells, task = studied
    finish(cells, "prefix", 0, [1000.0])
    before = cells.make(place(cells.study, "prefix", 0))
    ChessTokenizer().save_pretrained(before.run.folder / "model")
    tiny_model().save_pretrained(before.run.folder / "model")
    assert [point["kl"] for point in measure_cell(before, task)["curve"]] == [3.0]
    for setting in ("evaluation.boards=7", f"data.validation={SAMPLE}"):
        settings = [*cells.last_settings, setting]
        later = Cells(cells.study, cells.output, False, settings).make(before.place)
        assert measure_cell(later, task)["curve"] == []


def test_a_variant_that_has_begun_keeps_its_number_of_steps(studied):
    cells, task = studied
    finish(cells, "prefix", 0, [1000.0])
    finish(cells, "full", 0, [500.0])
    begun = cells.make(place(cells.study, "as_long", 0), 345)
    begun.run.folder.mkdir()
    save_config(begun.config, begun.run.folder / "config.yaml")
    # Without a checkpoint it starts again.
    assert cells.make_timed(place(cells.study, "as_long", 0), task).run.num_steps == 400
    (begun.run.folder / "checkpoints/step_0000100").mkdir(parents=True)
    assert cells.make_timed(place(cells.study, "as_long", 0), task).run.num_steps == 345


def test_variants_come_in_the_order_of_the_study(study_file):
    study = read_study(str(study_file))
    assert [variant.name for variant in choose("--variants", ["deep", "prefix"], study.variants)] == [
        "prefix",
        "deep",
    ]


def test_moves_that_certainly_win_or_lose_are_measured_alone(tmp_path):
    held_out = HeldOutBoards(str(easy_file(tmp_path / "boards.parquet", 40)), True, 16, torch.device("cpu"))
    model = tiny_model().eval()
    model.save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    found = CertainMoves(held_out).measure(tmp_path / "model")

    batch = held_out.boards.batch(np.arange(40), True)
    with torch.no_grad():
        value = model(torch.as_tensor(batch["input_ids"]), torch.as_tensor(batch["action_ids"])).value.numpy()
    labels, is_move = batch["win_probs"], batch["action_ids"] >= 0
    # As the mover sees it, moves to the last rank win.
    wins, losses = is_move & (labels == 1), is_move & (labels == 0)
    assert 0 < wins.sum() < is_move.sum() / 2 and losses.sum() > 0
    assert found["wins_mae"] == pytest.approx((1 - value[wins]).mean(), abs=1e-5)
    assert found["losses_mae"] == pytest.approx(value[losses].mean(), abs=1e-5)
    chosen = labels[np.arange(40), np.where(is_move, value, -1).argmax(axis=1)]
    assert found["won_agreement"] == pytest.approx((chosen == 1)[wins.any(axis=1)].mean())
    assert found["won_regret"] == pytest.approx((1 - chosen)[wins.any(axis=1)].mean(), abs=1e-6)


def test_runs_that_were_trained_by_hand_are_reported(tmp_path):
    by_hand = describe_training([Run(tmp_path, 3)], 2, 1)
    assert by_hand == {"processes": [2], "threads": [1]}


class Counted:
    """A measurement that counts how often it was asked."""

    measures = (Measure("size", "size", "d"),)
    description = "nothing"

    def __init__(self, name: str):
        self.name, self.data, self.num_calls = name, "some", 0

    def measure(self, model: Path) -> dict:
        self.num_calls += 1
        return {"size": len((model / "config.json").read_text()), "not asked for": 1}


def test_models_are_measured_once_on_the_same_data(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    first, second = Counted("first"), Counted("second")
    for _ in range(2):
        assert measure_once(tmp_path, [first]) == {"size": 2}
    measure_once(tmp_path, [first, second])
    assert (first.num_calls, second.num_calls) == (1, 1)
    first.data = "other"
    measure_once(tmp_path, [first, second])
    assert (first.num_calls, second.num_calls) == (2, 1)
    (model / "config.json").write_text("{ }")
    assert measure_once(tmp_path, [first, second]) == {"size": 3}
    assert (first.num_calls, second.num_calls) == (3, 2)
    second.measures = (Measure("size", "size", "d"), Measure("not asked for", "", "d"))
    assert measure_once(tmp_path, [second]) == {"size": 3, "not asked for": 1}
    for damaged in ("{", "[]", '{"first": 3}', '{"first": {"fingerprint": 3}}'):
        (tmp_path / "measures.json").write_text(damaged)
        with pytest.raises(InputError, match=r"measures\.json is damaged: delete it"):
            measure_once(tmp_path, [first])
