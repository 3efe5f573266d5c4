"""The card of a trained model: what it is, how to use it, what was measured, and the settings that made it.

It is made from what a run leaves, config.yaml, metrics.jsonl and model/, and from the --json files of
evaluations; the text around it is the template training/model_card.md. Its front matter holds the results as
https://huggingface.co/docs/hub/model-cards describes them.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open

from cli.errors import InputError, first_line
from cli.files import atomic_write
from configs.schema import Config, load_run_config
from data.hub import is_hub_id, read_name
from data.wordle.games import GameDescription
from eval.intervals import Z_95
from eval.loading import model_digest
from training.run_log import format_count, read_metrics


TEMPLATE = Path(__file__).with_name("model_card.md")
LICENSE = Path(__file__).parents[1] / "LICENSE"
LOSSES = {
    "hl_gauss": "HL-Gauss targets of {num_bins} bins",
    "two_hot": "two-hot targets of {num_bins} bins",
    "one_hot": "one-hot targets of {num_bins} bins",
    "c51": "C51's targets of {num_bins} bins",
    "mse": "the squared error",
    "mse_softmax": "the squared error of the mean of a softmax over {num_bins} bins",
}
LEARNING = {
    "q_learning": "Q-learning with CQL",
    "sarsa": "SARSA with CQL",
    "monte_carlo": "regression on their returns, with CQL",
    "behavior_cloning": "imitation",
}
# Key, title, format, and what to compare with: key and name.
ACTION_METRICS = (
    ("best_move_agreement", "best-move agreement", ".1%", ("random_agreement", "random")),
    ("regret", "regret (win probability)", ".4f", ("random_regret", "random")),
    ("kendall_tau", "Kendall's τ", ".3f", None),
    ("mae", "mean absolute error", ".4f", None),
    ("kl", "KL from the labels (nats)", ".3f", None),
    ("calibration_error", "calibration error", ".4f", None),
)
GAME_METRICS = (
    ("success_rate", "games solved", ".1%", ("data_success_rate", "its data")),
    ("mean_return", "mean return", ".3f", ("data_return", "its data")),
    ("mean_guesses", "mean guesses of solved games", ".2f", None),
)
NEXT_GUESS_METRICS = (("success_rate", "next guess right", ".1%", ("bayes_ceiling", "ceiling")),)
PUZZLE_METRICS = (("accuracy", "puzzles solved", ".1%", None),)
RATING_METRICS = (("elo", "Elo", "z.0f", None),)
# Not of the run but of where it was made, and when.
LEFT_OUT = ("output_dir", "resume", "tensorboard", "push_to_hub", "push_checkpoints")


class Result(NamedTuple):
    """A measured number: as it is, and as the card shows it."""

    key: str
    title: str
    value: float  # NaN if only a bound is known
    shown: str
    compared: str
    amount: str  # of the data, such as 500 boards
    data: str  # a file, an id on the hub, or in words
    measured: str  # both together


def write_model_card(
    run: Path, repo: str | None = None, results: Sequence[Result] = (), branches: Sequence[str] = ()
) -> None:
    """Put the card README.md, with its curves, and the licence into the folder `model` of a run.

    Without `repo`, its id on the hub, the card says how to load the folder.
    """
    folder = run / "model"
    card = make_card(run, repo or str(folder), [*training_results(run), *results], branches)
    add_card(run, folder, card)


def add_card(run: Path, folder: Path, card: str) -> None:
    """Put a card into a folder with a run's model, and what belongs to it: the curves and the licence."""
    with atomic_write(folder / "README.md") as path:
        path.write_text(card, encoding="utf-8")
    for file in (LICENSE, run / "curves.png"):
        if file.is_file():
            with atomic_write(folder / file.name) as path:
                shutil.copyfile(file, path)


def make_card(
    run: Path,
    name: str,
    results: Sequence[Result],
    branches: Sequence[str] = (),
    step: int | None = None,
    title: str | None = None,
    note: str = "",
) -> str:
    """Return the card of the model that loads as `name`; with `step`, of the checkpoint in branch step_N.

    Its `title` is, unless given, the name of the repository or of the run. `note` goes into the section on
    training.
    """
    config = load_run_config(run)
    title = title or (name.split("/")[-1] if is_hub_id(name) else run.resolve().name)
    dataset = read_name(config.data.train)
    numbers = [result for result in results if not math.isnan(result.value)]
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        tags=[config.task, "value-function", config.value_loss.name.replace("_", "-"), "arxiv:2403.03950"],
        datasets=[dataset.repo] if dataset else None,
        model_name=title,
        # The hub reads results of the branch main alone.
        eval_results=[_eval_result(result, config.task) for result in numbers] if step is None else None,
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        title=title,
        name=name,
        revision=f'revision="step_{step}", ' if step else "",
        step=step,
        branches=branches,
        task=config.task,
        has_distribution=config.value_loss.name != "mse",
        loss=LOSSES[config.value_loss.name].format(num_bins=config.value_loss.num_bins),
        learning=LEARNING[config.q_learning.target],
        parameters=format_count(sum(model_weights(run / "model").values())),
        attention=config.model.attention,
        results=results,
        has_intervals=any("±" in result.shown or "(" in result.shown for result in results),
        has_curves=(run / "curves.png").is_file(),
        steps=config.training.steps,
        batch_size=config.training.batch_size,
        unit=_unit(config),
        data=data_name(config.data.train),
        optimizer={"muon": "Muon and AdamW", "adamw": "AdamW"}[config.optimizer.name],
        averaged=config.training.ema_decay,
        game=_describe_game(run / "model"),
        note=note,
        settings=shareable_settings(config),
    )
    return str(card)


def training_results(run: Path, step: int | None = None) -> list[Result]:
    """Return what the run measured at its end, or at a step; nothing if it did not."""
    config = load_run_config(run)
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "eval"]
    rows = [row for row in rows if row["step"] == (config.training.steps if step is None else step)]
    if not rows:
        return []
    if config.task == "chess":
        return list(_of_boards(rows[-1], config.data.validation))
    game = read_game_description(run / "model")
    num_answers = len(game.words.answers)
    amount = f"{min(config.evaluation.games, num_answers):,} games"
    data = _words(num_answers, game.rule)
    return list(_results(rows[-1], GAME_METRICS, amount, data, f"{amount}, {data}"))


def read_results(path: str | Path, model: Path) -> list[Result]:
    """Read the --json file of eval.chess.actions, eval.chess.puzzles, eval.chess.elo or eval.wordle.

    Raises InputError if it is none of those, or was not measured with the weights in the folder `model`.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; give what --json of an evaluation wrote") from None
    try:
        results = _find_results(found)
        who = str(found.get("model") or found.get("agent") or found.get("player") or "an unnamed model")
    except (KeyError, TypeError, AttributeError):
        results = []
    if not results:
        kinds = "eval.chess.actions, eval.chess.puzzles, eval.chess.elo or eval.wordle"
        raise InputError(f"{path} holds no results that a card shows: give what --json of {kinds} wrote")
    # A name, what tells weights from others, and how moves were chosen.
    name, _, measured = who.rpartition("#")
    name = name or who
    if measured.partition(" ")[0] != model_digest(model):
        where = "these weights were not in it" if name == str(model) else f"not of {model}"
        raise InputError(f"{path} holds numbers of {name}, {where}: evaluate {model} again")
    return results


def _find_results(found: dict) -> list[Result]:
    if "best_move_agreement" in found:
        return list(_of_boards(found, found["data"]))
    if "num_puzzles" in found:
        data, amount = Path(found["puzzles"]).name, f"{found['num_puzzles']:,} puzzles"
        return list(_results(found, PUZZLE_METRICS, amount, data, f"{amount} of `{data}`"))
    if "elo" in found:
        data, amount = ", ".join(row["name"] for row in found["opponents"]), f"{found['num_games']:,} games"
        measured = f"{amount} against {data}"
        if found["elo"] is None:
            return [Result("elo", "Elo", math.nan, _bound(found), "", amount, data, measured)]
        return list(_results(found, RATING_METRICS, amount, data, measured))
    protocols = (
        [found] if "protocol" in found else [part for part in found.values() if isinstance(part, dict)]
    )
    return [result for part in protocols for result in _of_protocol(part, found)]


def _bound(rating: dict) -> str:
    """Say what is known of a player who lost all games, or won all: one end of the interval."""
    if rating["high"] is not None:
        return f"below {rating['high']:z.0f}"
    return f"above {rating['low']:z.0f}"


def _of_boards(found: dict, source: str) -> Iterator[Result]:
    data, amount = data_name(source), f"{found['num_boards']:,} boards"
    return _results(found, ACTION_METRICS, amount, data, f"{amount} of `{data}`")


def _of_protocol(found: dict, settings: dict) -> Iterator[Result]:
    data = _words(settings["num_answers"], settings["rule"])
    metrics, amount = GAME_METRICS, f"{found['num_games']:,} games of {found['protocol']}"
    if found["protocol"] == "one_turn":
        metrics, amount = (
            NEXT_GUESS_METRICS,
            f"{found['num_states']:,} states of games of {found['behavior']}",
        )
    return _results(found, metrics, amount, data, f"{amount}, {data}")


def _words(num_answers: int, rule: str) -> str:
    return f"{num_answers:,} secrets, {rule} rule"


def _results(
    found: dict, metrics: Sequence[tuple], amount: str, data: str, measured: str
) -> Iterator[Result]:
    """Yield those of the metrics that were found, with their intervals where there are any."""
    errors = dict(found.get("standard_errors") or {})
    errors["mean_return"] = found.get("return_standard_error")
    is_first = True
    for key, title, style, reference in metrics:
        value, error = found.get(key), errors.get(key)
        if value is None:
            continue
        shown = f"{value:{style}}"
        if error is not None:
            shown += f" ± {Z_95 * error:{style}}"
        elif is_first and {"low", "high"} <= found.keys():
            # Of the first metric of an evaluation; an end of None is infinite.
            low = "−∞" if found["low"] is None else f"{found['low']:{style}}"
            high = "∞" if found["high"] is None else f"{found['high']:{style}}"
            shown += f" ({low} to {high})"
        is_first = False
        compared = ""
        if reference and found.get(reference[0]) is not None:
            compared = f"{reference[1]} {found[reference[0]]:{style}}"
        yield Result(key, title, value, shown, compared, amount, data, measured)


def _eval_result(result: Result, task: str) -> EvalResult:
    dataset = read_name(result.data)
    return EvalResult(
        task_type="reinforcement-learning",
        task_name={"chess": "Chess without search", "wordle": "Wordle"}[task],
        dataset_type=dataset.repo if dataset else re.sub(r"[^\w.]+", "-", result.data).lower(),
        dataset_name=result.data,
        dataset_split=dataset.split if dataset else None,
        dataset_revision=dataset.revision if dataset else None,
        metric_type=result.key,
        # Numbers of other parts of the same data stand beside it.
        metric_name=f"{result.title}, {result.amount}",
        metric_value=result.value,
    )


def data_name(source: str) -> str:
    """Return how a card names data: as on the hub, or by the name of its file, wherever that lies."""
    return source if read_name(source) else Path(source).name


def weight_sizes(path: Path) -> dict[str, int]:
    """Return the names of the weights in a file, and how many numbers each has, without loading them.

    Raises InputError if it cannot be read.
    """
    try:
        with safe_open(path, "np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (it is no dict)
            # Tables of whole numbers are not trained.
            return {
                name: math.prod(part.get_shape()) for name, part in slices.items() if "F" in part.get_dtype()
            }
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def model_weights(folder: Path) -> dict[str, int]:
    """Return the same of all files of a saved model."""
    sizes = {}
    for path in folder.glob("*.safetensors"):
        sizes |= weight_sizes(path)
    return sizes


def read_game_description(folder: Path) -> GameDescription:
    """Return the game that stands in the wordle.json of a saved model."""
    return GameDescription.from_json(json.loads((folder / "wordle.json").read_bytes()))


def _describe_game(folder: Path) -> str | None:
    if not (folder / "wordle.json").exists():
        return None
    game = read_game_description(folder)
    players = f", played by `{game.policy}`" if game.policy else ""
    return f"Its games have {len(game.words.answers):,} secret words and the {game.rule} rule{players}."


def _unit(config: Config) -> str:
    if config.task == "wordle":
        return "games"
    return "boards with all their moves" if config.data.example == "board" else "moves"


def shareable_settings(config: Config) -> str:
    """Return the settings as YAML, without where on this machine anything lies."""
    settings = OmegaConf.to_container(OmegaConf.structured(config))
    for key in LEFT_OUT:
        del settings[key]
    del settings["data"]["prepared_dir"]
    for key, value in settings["data"].items():
        if isinstance(value, str) and Path(value).is_absolute():
            settings["data"][key] = Path(value).name
    return OmegaConf.to_yaml(OmegaConf.create(settings))
