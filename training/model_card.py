"""The card of a trained model: description, use, results and settings.

It is made from the files of a run (config.yaml, metrics.jsonl, model/), the --json files of evaluations and
the facts that the run's task knows, with the template training/model_card.md. The front matter holds the
results in the format of https://huggingface.co/docs/hub/model-cards.
"""

import json
import math
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import OmegaConf
from safetensors import safe_open

from cli.errors import InputError
from cli.files import atomic_write
from configs.loading import load_run_config
from configs.schema import Config
from data.hub import read_name
from eval.model_folder import model_digest
from training.card_facts import CardFacts, Result, data_name
from training.publish import SETTINGS
from training.run_log import format_count, read_metrics
from training.tasks import TASKS


TEMPLATE = Path(__file__).with_name("model_card.md")
LICENSE = Path(__file__).parents[1] / "LICENSE"
LOSSES = {
    "hl_gauss": "HL-Gauss targets of {num_bins} bins",
    "two_hot": "two-hot targets of {num_bins} bins",
    "one_hot": "one-hot targets of {num_bins} bins",
    "c51": "C51 targets of {num_bins} bins",
    "mse": "the squared error",
    "mse_sigmoid": "the squared error of a sigmoid",
    "mse_softmax": "the squared error of the mean of a softmax over {num_bins} bins",
}
# Of a run; evaluations of Atari and of the robot write the latter.
PICTURES = {"curves.png": "Curves of the training run", "play.gif": "Episodes of the model"}
OPTIMIZERS = {"muon": "Muon and AdamW", "adamw": "AdamW"}
# Settings of the machine and of the run's name, not of the model.
NOT_SHARED = ("output_dir", "resume", "trackers", "push_to_hub", "push_checkpoints")


def write_model_card(
    run: Path,
    folder: Path | None = None,
    name: str | None = None,
    *,
    results: Sequence[Result] | None = None,
    branches: Sequence[str] = (),
    step: int | None = None,
    note: str = "",
    on_hub: bool = False,
    space: str | None = None,
) -> None:
    """Add the card of a run's model to a model folder, with settings, pictures and licence.

    The folder is `model` in the run unless another is given, the results are those of the run at its end.
    `name`, which loads the model, is the folder, or with `on_hub` an id on the hub. With `step`, the weights
    are those of a checkpoint in the branch step_N. `note` is for the section on training. `space` is the
    address of the model's Space.
    """
    folder = folder or run / "model"
    config = load_run_config(run)
    results = training_results(run, config, config.training.steps) if results is None else results
    name = name or str(folder)
    title = run.resolve().name if name == str(run / "model") else name.rstrip("/").split("/")[-1]
    revision = f'revision="step_{step}", ' if step else ""
    # A folder may be copied anywhere: its code is run inside it.
    load = f'"{name if on_hub else "."}", {revision}trust_remote_code=True'
    facts = TASKS[config.task].card_facts(config, folder, name, load)
    settings = shareable_settings(config)
    card = ModelCard.from_template(
        # The hub reads results of the branch main alone.
        _metadata(config, facts, title, None if step else results),
        template_path=str(TEMPLATE),
        title=title,
        name=name,
        on_hub=on_hub,
        space=space,
        facts=facts,
        papers=["[Stop Regressing](https://arxiv.org/abs/2403.03950)", *facts.papers],
        step=step,
        branches=branches,
        onnx_files=sorted(file.name for file in folder.glob("onnx/*.onnx")),
        loss=facts.loss or LOSSES[config.value_loss.name].format(num_bins=config.value_loss.num_bins),
        parameters=format_count(sum(model_weights(folder).values())),
        results=results,
        has_intervals=any("±" in result.shown or "(" in result.shown for result in results),
        pictures={name: text for name, text in PICTURES.items() if (run / name).is_file()},
        steps=config.training.steps,
        batch_size=config.training.batch_size,
        data=data_name(config.data.train) if config.data.train else None,
        optimizer=OPTIMIZERS[config.optimizer.name],
        ema_decay=config.training.ema_decay,
        note=note,
        settings=settings,
    )
    with atomic_write(folder / "README.md") as path:
        path.write_text(str(card), encoding="utf-8")
    (folder / SETTINGS).write_text(settings, encoding="utf-8")
    shutil.copyfile(LICENSE, folder / "LICENSE")
    for picture in PICTURES:
        if (run / picture).is_file():
            shutil.copyfile(run / picture, folder / picture)


def _metadata(
    config: Config, facts: CardFacts, title: str, results: Sequence[Result] | None
) -> ModelCardData:
    dataset = read_name(config.data.train) if config.data.train else None
    kind = [facts.tag] if facts.tag else ["value-function", config.value_loss.name.replace("_", "-")]
    measured = None
    if results is not None:
        measured = [_eval_result(r, facts.task) for r in results if r.value is not None]
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="reinforcement-learning",
        tags=[config.task, *kind, "arxiv:2403.03950"],
        datasets=[dataset.repo] if dataset else None,
        model_name=title,
        eval_results=measured,
    )


def training_results(run: Path, config: Config, step: int) -> list[Result]:
    """Return the results that a run measured after a step, if it did."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "eval"]
    row = next((row for row in rows if row["step"] == step), None)
    return TASKS[config.task].results_of_run(row, config, run / "model") if row else []


def read_results(paths: Iterable[str | Path], task: str, folder: Path, name: str) -> list[Result]:
    """Read --json files of evaluations of the model in `folder`, which is or will be known as `name`.

    Raises InputError for other files, and for results of other weights than those in `folder`.
    """
    results = []
    expected = model_digest(folder)
    for path in paths:
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}; give a --json file of an evaluation") from None
        try:
            measured = TASKS[task].results_of_evaluation(found)
            # A name, the digest of the weights, and for Elo how moves were chosen.
            identity = str(found.get("model") or found.get("player") or found.get("policy"))
        except (KeyError, TypeError, AttributeError):
            measured = []
        if not measured:
            raise InputError(f"{path} holds no results for the card: give a --json file of an evaluation")
        who, _, digest = identity.rpartition("#")
        if digest.partition(" ")[0] != expected:
            raise InputError(
                f"{path} holds results of {who or identity}, not of the weights of {name}: publish without "
                f"--results, then evaluate {name}"
            )
        results += measured
    return results


def _eval_result(result: Result, task: str) -> EvalResult:
    dataset = read_name(result.data)
    return EvalResult(
        task_type="reinforcement-learning",
        task_name=task,
        dataset_type=dataset.repo if dataset else re.sub(r"[^\w.]+", "-", result.data).lower(),
        dataset_name=result.data,
        dataset_split=dataset.split if dataset else None,
        dataset_revision=dataset.revision if dataset else None,
        metric_type=result.key,
        metric_name=result.title.partition(" (")[0],
        metric_value=float(f"{result.value:.4g}"),
        metric_args={"amount": result.amount},
    )


def model_weights(folder: Path) -> dict[str, int]:
    """Return the names of the trained weights of a saved model, and how many numbers each has."""
    sizes = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                weight = tensors.get_slice(name)
                # Tables of integers are not trained.
                if "F" in weight.get_dtype():
                    sizes[name] = math.prod(weight.get_shape())
    return sizes


def shareable_settings(config: Config) -> str:
    """Return the settings as YAML, without locations on this machine."""
    settings: Any = OmegaConf.to_container(OmegaConf.structured(config))
    for key in NOT_SHARED:
        settings.pop(key, None)
    settings["data"].pop("prepared_dir", None)
    for key, value in settings["data"].items():
        if isinstance(value, str) and Path(value).is_absolute():
            settings["data"][key] = Path(value).name
    return OmegaConf.to_yaml(OmegaConf.create(settings))
