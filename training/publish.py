"""Publish a trained model on the hub: weights, code, tokenizer, licence, and a card that says what it is.

    hf auth login
    python -m training.publish --run runs/chess_tiny --repo user/name

`train.py ... push_to_hub=user/name` does the same at the end of a run. Afterwards, wherever torch and
transformers are, AutoModel.from_pretrained("user/name", trust_remote_code=True) loads the model, and every
evaluation takes user/name where it takes a folder.
"""

import argparse
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_token
from safetensors.torch import load_file, save_file

from cli.errors import InputError, command
from configs.schema import Config, load_run_config
from data.hub import NOT_LOGGED_IN, check_upload, make_repo, uploading
from eval.model_folder import check_model_folder
from training.model_card import (
    Result,
    make_card,
    model_weights,
    read_results,
    training_results,
    weight_sizes,
    write_model_card,
)
from training.run_folder import list_checkpoints, step_of


def publish(
    run: Path,
    repo: str,
    checkpoints: bool = False,
    private: bool = False,
    results: Sequence[Result] = (),
    keep_card: bool = False,
) -> str:
    """Push the model of a run to the hub, and its checkpoints as branches step_N; return the address.

    The card is made anew, with `results` besides those of the run itself, unless `keep_card`. What the hub
    has already is not sent again. Raises InputError if the run holds no model, or the hub does not take it.
    """
    check_run(run)
    kept = list_checkpoints(run) if checkpoints else []
    # What cannot be pushed is found before anything is.
    weights = {step_of(checkpoint): check_weights(run, checkpoint) for checkpoint in kept}
    check_upload(repo)
    if not keep_card:
        write_model_card(run, repo, results, [f"step_{step}" for step in weights])
    api = HfApi()
    with uploading(repo):
        url = make_repo(api, repo, private)
        _upload(api, repo, run / "model", "main")
        for step, path in weights.items():
            # Beside the run, since the place for temporary files may be small.
            with tempfile.TemporaryDirectory(dir=run, prefix=".publish-") as folder:
                build_model_folder(run, path, Path(folder))
                card = make_card(run, repo, training_results(run, step), step=step)
                (Path(folder) / "README.md").write_text(card, encoding="utf-8")
                api.create_branch(repo, branch=f"step_{step}", exist_ok=True)
                _upload(api, repo, Path(folder), f"step_{step}")
    return url


def _upload(api: HfApi, repo: str, folder: Path, branch: str) -> None:
    message = "Upload model" if branch == "main" else f"Upload model of {branch}"
    api.upload_folder(repo_id=repo, folder_path=folder, revision=branch, commit_message=message)


def publishing_warnings(config: Config) -> list[str]:
    """Say so before training if a run that asks for publishing will not be able to."""
    return [NOT_LOGGED_IN] if config.push_to_hub and get_token() is None else []


def publish_after_training(config: Config) -> None:
    """Publish a run that asks for it; where that fails, say why and how to do it later. Its model is safe."""
    run, repo = Path(config.output_dir), config.push_to_hub
    later = f"python -m training.publish --run {shlex.quote(str(run))} --repo {repo}"
    later += " --checkpoints" if config.push_checkpoints else ""
    try:
        url = publish(run, repo, config.push_checkpoints)
        print(f"published: {url}")
    except InputError as error:
        print(f"warning: not published: {error}. The model is in {run / 'model'}; publish it later: {later}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the model is in {run / 'model'}; publish it later: {later}") from None


def check_run(run: Path) -> None:
    """Raise InputError unless this is the folder of a finished run."""
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; --run takes the output_dir of a run")
    if not (run / "config.yaml").is_file():
        is_model = (run.parent / "config.yaml").is_file()
        remedy = f"did you mean {run.parent}?" if is_model else "give the output_dir of a run"
        raise InputError(f"{run} holds no run (no config.yaml): {remedy}")
    if not (run / "model").is_dir():
        raise InputError(f"{run} holds no model yet: finish the run, with resume=true")
    check_model_folder(run / "model")


def check_weights(run: Path, checkpoint: Path) -> Path:
    """Return the file of a checkpoint's averaged weights; of a run without an average, its weights.

    Raises InputError if they are not there, or not those of the run's model.
    """
    config = load_run_config(run)
    path = checkpoint / ("average.safetensors" if config.training.ema_decay else "model.safetensors")
    if not path.is_file():
        raise InputError(f"{checkpoint} holds no {path.name}: publish without checkpoints")
    if weight_sizes(path) != model_weights(run / "model"):
        raise InputError(f"{path} does not hold the weights of {run / 'model'}: publish without checkpoints")
    return path


def build_model_folder(run: Path, weights: Path, folder: Path) -> None:
    """Write what `from_pretrained` loads: weights by name, with all else that the run's model has."""
    for file in (run / "model").iterdir():
        if file.is_file() and ".safetensors" not in file.name:
            shutil.copyfile(file, folder / file.name)
    tensors = {}
    for file in (run / "model").glob("*.safetensors"):
        tensors |= load_file(file)  # for the tables, which checkpoints leave out
    # transformers reads in the file which library wrote it.
    save_file(tensors | load_file(weights), folder / "model.safetensors", {"format": "pt"})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description="Push a trained model to the Hugging Face hub, with its code, tokenizer, licence and a "
        "card that says what it is, how to use it, which settings made it and what was measured. Log in "
        "first, with `hf auth login` or HF_TOKEN. What is there already is not sent again, so the same "
        "command may be repeated.",
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the output_dir of a finished run")
    add("--repo", required=True, metavar="USER/NAME", help="where on the hub; made if it is not there yet")
    add(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="add to the card what --json of eval.chess.actions, eval.chess.puzzles, eval.chess.elo or "
        "eval.wordle wrote",
    )
    add(
        "--checkpoints",
        action="store_true",
        help="also push the checkpoints that the run kept, as branches step_N for from_pretrained's revision",
    )
    add("--private", action="store_true", help="if the repository is made, make it a private one")
    add(
        "--keep-card",
        action="store_true",
        help="push the card DIR/model/README.md as it stands, with what you wrote into it, and not a new one",
    )
    arguments = parser.parse_args()
    if arguments.keep_card and arguments.results:
        parser.error("--results go into a new card: leave out --keep-card")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    run = Path(arguments.run)
    check_run(run)
    results = [result for path in arguments.results for result in read_results(path, run / "model")]
    url = publish(run, arguments.repo, arguments.checkpoints, arguments.private, results, arguments.keep_card)
    print(f"published: {url}")
    print(f'load it:   AutoModel.from_pretrained("{arguments.repo}", trust_remote_code=True)')


if __name__ == "__main__":
    command(main)
