"""Definitions of studies, the cells they make, and the command's errors."""

import sys
from pathlib import Path

import pytest

from cli.errors import InputError, command
from configs.loading import save_config
from data.atari.games import make_game
from studies.__main__ import main
from studies.cells import Cell, make_cells
from studies.definition import STUDY_FOLDER, read_study
from tests.support.atari_episodes import record_random_play
from tests.support.commands import REPOSITORY
from tests.support.robot_data import write_robot_data
from tests.support.training_runs import SAMPLE


DEEP = "deep: {model.num_hidden_layers: 3, optimizer.beta1: 0.8}"
STUDY = f"""
title: Deeper or wider?
config: chess_tiny.yaml
settings:
  model: {{hidden_size: 16, num_attention_heads: 2}}
  data: {{train: {SAMPLE}, validation: {SAMPLE}}}
  training.steps: 200
seeds: [0, 3]
reference: prefix
variants:
  prefix: {{}}
  full: {{model.attention: full}}
  {DEEP}
"""
POINTS = "across: {title: n, points: {few: {training.steps: 30}, many: {training: {steps: 60}}}}\n"


@pytest.fixture
def study_file(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def cells_of(name: object, output: Path, **options: object) -> list[Cell]:
    study = read_study(str(name))
    return make_cells(study, output, list(study.variants), list(study.points), study.seeds, **options)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(STUDY_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_study_can_be_trained(tmp_path, path):
    study, output = read_study(path.stem), tmp_path / "output"
    data = tmp_path / "data"
    if study.config == "atari_cql.yaml":
        record_random_play(data, make_game("minatar_breakout"), 50)
    elif study.config.startswith("robot"):
        write_robot_data(data, ["drawer-open-v3"])
    # Agents that learn online play their own training data.
    settings = [] if study.config == "atari_tiny.yaml" else [f"data.train={data}"]
    for quick in (False, True):
        assert make_cells(
            study, output, list(study.variants), list(study.points), study.seeds[:1], quick=quick,
            settings=settings,
        )  # fmt: skip
    assert not output.exists()


def test_variants_override_all_settings_and_quick_settings_override_both(study_file, tmp_path):
    cells = cells_of(study_file, tmp_path, settings=["optimizer.name=adamw"])
    names = [cell.run.name for cell in cells]
    assert names == [f"{variant}-seed{seed}" for seed in (0, 3) for variant in ("prefix", "full", "deep")]
    deep = cells[-1].config
    assert (deep.seed, deep.model.hidden_size, deep.model.num_hidden_layers) == (3, 16, 3)
    assert (deep.optimizer.name, deep.optimizer.beta1, cells[-1].run.num_steps) == ("adamw", 0.8, 200)
    quick = cells_of(study_file, tmp_path, quick=True, settings=["training.steps=30"])[-1].config
    assert (quick.model.num_hidden_layers, quick.optimizer.beta1) == (1, 0.8)
    # The command line comes last.
    assert (quick.training.steps, quick.training.warmup_steps) == (30, 10)


def test_every_variant_is_trained_at_every_point(study_file, tmp_path):
    study_file.write_text(STUDY + POINTS)
    cells = [cell for cell in cells_of(study_file, tmp_path) if (cell.variant, cell.seed) == ("full", 3)]
    assert [(cell.run.name, cell.run.num_steps) for cell in cells] == [
        ("full-few-seed3", 30), ("full-many-seed3", 60),
    ]  # fmt: skip
    assert {cell.config.model.attention for cell in cells} == {"full"}


def test_a_finished_cell_with_other_settings_is_refused(study_file, tmp_path):
    cell = cells_of(study_file, tmp_path)[0]
    cell.run.result.mkdir(parents=True)
    save_config(cell.config, cell.run.folder / "config.yaml")
    assert cells_of(study_file, tmp_path)[0].run.is_finished
    assert cells_of(study_file, tmp_path, settings=["evaluation.every=7"])  # does not change what is learnt
    for setting, part in (
        ("training.steps=260", "training.steps: 200, now 260"),
        ("data.train=b.parquet", "now b.parquet"),
    ):
        with pytest.raises(InputError, match=f"prefix-seed0 was trained with other settings: .*{part}"):
            cells_of(study_file, tmp_path, settings=[setting])


@pytest.mark.parametrize(
    ("text", "changed", "parts"),
    [
        ("title:", "titel:", ["Key 'titel' not in", "Did you mean: 'title'?"]),
        ("title: Deeper or wider?", "", ["title is not set"]),
        ("seeds: [0, 3]", "seeds: [0, many]", ["seeds[1]", "'many'"]),
        ("seeds: [0, 3]", "seeds: []", ["seeds: empty"]),
        ("reference: prefix", "reference: none", ["reference: 'none' is unknown", "prefix, full, deep"]),
        ("deep: {model.num_hidden_layers", "deep: {model.layers", ["deep-seed0: model.layers", "'layers'"]),
        (DEEP, "deep: {seed: 3}", ["variants.deep: seed is set by the study"]),
        (DEEP, "deep: {data.validation: x}", ["variants.deep: data.validation must be equal for all"]),
        (DEEP, "a/b: {}", ["'a/b': use letters"]),
        ("hidden_size: 16", "hidden_size: wide", ["prefix-seed0: ", "'wide'"]),
        ("hidden_size: 16", "hidden_size: 15", ["prefix-seed0: "]),
        ("config: chess_tiny.yaml", "config: nowhere.yaml", ["no configuration 'nowhere.yaml'"]),
        (
            "reference:",
            "measurements: [weight]\nreference:",
            ["measurements: 'weight' is unknown", "certain_moves"],
        ),
        ("reference:", "across: {title: n, points: {}}\nreference:", ["points: empty"]),
        (
            "reference:",
            "across: {title: n, points: {x: {}}, baseline: y}\nreference:",
            ["across.baseline: 'y' is unknown: choose from x"],
        ),
        (
            "reference:",
            "across: {title: n, points: {a: {model.attention: causal}}}\nreference:",
            ["variant full and point a both set model.attention"],
        ),
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
        (["seed=3"], ["seed=3", "--seeds"]),
        (["model.attention=causal"], ["variant full sets model.attention: leave it out"]),
        (["data.train=nowhere.parquet"], ["nowhere.parquet", "no such file"]),
        (["data.validation=null"], ["data.validation is not set"]),
        (["--puzzles", "nowhere.csv"], ["nowhere.csv", "no such file"]),
        (["--seeds", "0", "training.steps=-3"], ["training.steps", "-3"]),
        (["--variants", "prefix", "pass"], ["--variants: 'pass' is unknown: choose from prefix, full, deep"]),
        (["--points", "one"], ["--points: 'one' is unknown", "has none"]),
        (["--games", "games.parquet"], ["--games is not an option of chess"]),
        (["--output", "README.md"], ["README.md is a file, not a folder"]),
        (["--device", "abacus"], ["device 'abacus' cannot be used"]),
    ],
    ids=" ".join,
)
def test_bad_input_gives_one_line_and_trains_nothing(study_file, tmp_path, monkeypatch, capsys, line, parts):
    settings = [f"data.prepared_dir={tmp_path / 'prepared'}"]
    assert_refused([study_file, *settings, *line], tmp_path, parts, monkeypatch, capsys)


def test_an_unknown_study_is_named(tmp_path, monkeypatch, capsys):
    assert_refused(["two_pass"], tmp_path, ["no study 'two_pass'", "one_pass"], monkeypatch, capsys)


def assert_refused(line: list, tmp_path: Path, parts: list[str], monkeypatch, capsys) -> None:
    """Assert that the command, run in this process, ends with status 2 and one line that holds all parts."""
    output = tmp_path / "out"
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["studies", "--output", str(output), *map(str, line)])
    with pytest.raises(SystemExit, match="2"):
        command(main)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not output.exists()
