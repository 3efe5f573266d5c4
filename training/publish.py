"""Publish a trained model, to a folder or on the hub: weights, code, tokenizer, licence, settings and a card.

    hf auth login
    python -m training.publish --run runs/chess_tiny --repo user/name
    python -m training.publish --run runs/chess_tiny --folder chess_tiny --dtype bfloat16 --onnx
    python -m training.publish --run runs/chess_tiny --repo user/name --space user/name

`train.py ... push_to_hub=user/name` does the first at the end of a run. Every evaluation takes the folder or
user/name as --model; wherever torch and transformers are installed,
AutoModel.from_pretrained("user/name", trust_remote_code=True) loads it. A Space is a page that plays it.

Rounded weights are another model, so its results are measured on the published folder. The same command with
--results then writes the same files again, with a card that shows them.
"""

import argparse
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_token

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import DTYPES, positive_int
from configs.loading import load_run_config
from configs.schema import Config
from data.hub import NOT_LOGGED_IN, check_upload, make_repo, uploading
from training.onnx_export import check_packages, export_onnx
from training.run_folder import list_checkpoints, step_of
from training.space import SPACE_HELP, check_space, is_on_hub, publish_space, report, space_url


MEGABYTE = 1_000_000
SETTINGS = "settings.yaml"  # of a published model: the settings of its run


def write_model_folder(
    run: Path,
    folder: Path,
    name: str,
    *,
    checkpoint: Path | None = None,
    dtype: str = "float32",
    shard_bytes: int = 5_000 * MEGABYTE,
    result_files: Sequence[str] = (),
    branches: Sequence[str] = (),
    note: str = "",
    on_hub: bool = False,
    onnx: bool = False,
    space: str | None = None,
) -> None:
    """Write the model of a run, or of one of its checkpoints, to `folder`, which will load as `name`.

    `name` is a folder, or with `on_hub` an id on the hub. `onnx` adds the ONNX files; the card links the
    `space`. Raises InputError if a result file holds results of other weights than those written, or if an
    ONNX file differs from them.
    """
    # These import torch, which takes seconds. The folder has been checked before.
    import torch
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    from training.model_card import read_results, training_results, write_model_card

    model = run / "model"
    shutil.copytree(
        model, folder, ignore=shutil.ignore_patterns("*.safetensors*", "onnx"), dirs_exist_ok=True
    )
    weights: dict[str, torch.Tensor] = {}
    for file in model.glob("*.safetensors"):
        weights |= load_file(file)
    config, step = load_run_config(run), None
    if checkpoint is not None:
        step = step_of(checkpoint)
        averaged = "average" if config.training.ema_decay else "model"
        # Checkpoints lack the tables of integers, which training does not change.
        weights |= load_file(checkpoint / f"{averaged}.safetensors")
    kind = getattr(torch, dtype)
    rounded = {key: w.to(kind) if w.is_floating_point() else w for key, w in weights.items()}
    save_torch_state_dict(rounded, folder, max_shard_size=shard_bytes)
    # The run measured its weights before they were rounded.
    results = training_results(run, config, step or config.training.steps) if dtype == "float32" else []
    results += read_results(result_files, config.task, folder, name)
    if onnx:  # which takes longest
        export_onnx(folder, config.task)
    write_model_card(
        run,
        folder,
        name,
        results=results,
        branches=branches,
        step=step,
        note=note,
        on_hub=on_hub,
        space=space_url(space) if space and is_on_hub(space) else None,
    )


def publish_folder(run: Path, folder: Path, *, space: str | None = None, **options) -> None:
    """Write the model of a run to a new folder, or replace a published one; `options` as above.

    `space` is written too; it needs the ONNX files. Raises InputError if there is something else at `folder`.
    """
    check_run(run)
    is_of_run = folder.resolve().name == "model" and (folder.resolve().parent / "config.yaml").is_file()
    is_published = (folder / SETTINGS).is_file() and not is_of_run
    if folder.exists() and not is_published:
        raise InputError(f"{folder} exists and is not a published model: choose another folder")
    check_output(folder / SETTINGS, overwrite=True)
    with atomic_write(folder.resolve()) as unfinished:
        write_model_folder(run, unfinished, str(folder), space=space, **options)
    if space:
        publish_space(folder, space)


def publish(
    run: Path,
    repo: str,
    *,
    checkpoints: bool = False,
    private: bool = False,
    result_files: Sequence[str] = (),
    space: str | None = None,
    **options,
) -> str:
    """Push the model of a run to the hub, and its checkpoints as branches step_N; return the address.

    `space` is written too; it needs the ONNX files. `options` are those of `write_model_folder`. Files that
    the hub has are not sent again. Raises InputError if the run has no model, a result file holds results of
    other weights, or the upload fails.
    """
    check_run(run)
    check_upload(repo)
    api = HfApi()
    steps = {f"step_{step_of(path)}": path for path in list_checkpoints(run)} if checkpoints else {}
    # Inside the run, since the system's temporary folder may be small.
    options |= {"on_hub": True}
    with tempfile.TemporaryDirectory(dir=run, prefix=".publish-") as temporary:
        folder = Path(temporary, "main")
        # The branches of checkpoints have neither results nor a Space.
        write_model_folder(
            run, folder, repo, result_files=result_files, branches=tuple(steps), space=space, **options
        )
        with uploading(repo):
            url = make_repo(api, repo, private)
        _upload(api, repo, folder, "main")
        if space:
            publish_space(folder, space, repo, private)
        for branch, checkpoint in steps.items():
            shutil.rmtree(folder)
            write_model_folder(run, folder, repo, checkpoint=checkpoint, **options)
            with uploading(repo):
                api.create_branch(repo, branch=branch, exist_ok=True)
            _upload(api, repo, folder, branch)
    return url


def _upload(api: HfApi, repo: str, folder: Path, branch: str) -> None:
    with uploading(repo):
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=branch,
            commit_message=f"Upload model, branch {branch}",
            # from_pretrained could load older weights, and an engine older ONNX files.
            delete_patterns=["*.safetensors*", "onnx/*"],
        )


def publishing_warnings(config: Config) -> list[str]:
    """Return a warning if a run will not be able to publish its model as its settings ask."""
    return [NOT_LOGGED_IN] if config.push_to_hub and get_token() is None else []


def publish_after_training(config: Config) -> None:
    """Publish the model of a finished run; if that fails, print the reason and the command to repeat it."""
    run, repo = Path(config.output_dir), config.push_to_hub
    assert repo is not None, "called only with push_to_hub"
    try:
        print(f"published: {publish(run, repo, checkpoints=config.push_checkpoints)}")
    except InputError as error:
        later = f"python -m training.publish --run {shlex.quote(str(run))} --repo {repo}"
        later += " --checkpoints" if config.push_checkpoints else ""
        print(f"warning: not published: {error}. The model is in {run / 'model'}; publish it later: {later}")


def check_run(run: Path) -> None:
    """Raise InputError unless this is the folder of a finished run."""
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run} has no config.yaml: give the output_dir of a run, not the model in it")
    if not (run / "model").is_dir():
        raise InputError(f"{run} has no model yet: finish the run with resume=true")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description="Publish a trained model on the Hugging Face hub or in a folder, with its code, "
        "tokenizer, licence, settings, and a card with its use, training "
        "and results. The hub needs a login, `hf auth login` or HF_TOKEN. The command may be repeated, "
        "for example with --results after evaluating what it published.",
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the output_dir of a finished run")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--repo", metavar="USER/NAME", help="a repository on the hub, created if missing")
    target.add_argument(
        "--folder", metavar="DIR", help="a new folder, or one that this command wrote, which is replaced"
    )
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="data type of the weights; bfloat16 rounds them and halves the files (default: float32)",
    )
    add(
        "--shard-size",
        type=positive_int,
        default=5_000,
        metavar="MB",
        help="split weights into files of at most this size, such as 15 for git (default: 5000)",
    )
    add(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="show in the card the --json files of evaluations of the same weights: eval.chess.actions, "
        "eval.chess.puzzles, eval.chess.elo, eval.wordle, eval.atari, eval.robot",
    )
    add(
        "--onnx",
        action="store_true",
        help="also write onnx/model.onnx (float32) and onnx/model_fp16.onnx (weights in float16), for "
        "onnxruntime, and compare both with PyTorch",
    )
    add("--space", metavar="USER/NAME", help=f"also write {SPACE_HELP}; implies --onnx")
    add("--note", default="", metavar="TEXT", help="sentences for the card: hardware, duration, data")
    add(
        "--checkpoints",
        action="store_true",
        help="with --repo: also push the checkpoints of the run, as branches step_N",
    )
    add("--private", action="store_true", help="with --repo: create a private repository")
    arguments = parser.parse_args()
    if arguments.folder == "":
        parser.error("argument --folder: give the path of a folder")
    if arguments.folder and (arguments.checkpoints or arguments.private):
        parser.error("--checkpoints and --private need --repo")
    if arguments.folder and arguments.space:
        folder, space = Path(arguments.folder).resolve(), Path(arguments.space).resolve()
        if space.is_relative_to(folder) or folder.is_relative_to(space):
            parser.error("--space: choose a folder outside --folder that does not contain it")
        if is_on_hub(arguments.space) and folder.is_relative_to(space.parent):
            parser.error(
                f"--space: write ./{arguments.space} for a folder; for a Space on the hub choose a --folder "
                f"outside {Path(arguments.space).parent}"
            )
    return arguments


def main() -> None:
    arguments = parse_arguments()
    run = Path(arguments.run)
    options = {
        "dtype": arguments.dtype,
        "shard_bytes": arguments.shard_size * MEGABYTE,
        "result_files": arguments.results,
        "note": arguments.note,
        "onnx": arguments.onnx or bool(arguments.space),
        "space": arguments.space,
    }
    if options["onnx"]:
        check_packages()
    if arguments.space:
        check_run(run)
        check_space(arguments.space, load_run_config(run).task)
    if arguments.folder:
        folder = Path(arguments.folder)
        publish_folder(run, folder, **options)
        num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"published: {folder}, {num_bytes / MEGABYTE:.1f} MB, {arguments.dtype}")
    else:
        to_hub = {"checkpoints": arguments.checkpoints, "private": arguments.private}
        print(f"published: {publish(run, arguments.repo, **to_hub, **options)}")
    if arguments.space:
        report(arguments.space)
    name = arguments.folder or arguments.repo
    print(f'load it:   AutoModel.from_pretrained("{name}", trust_remote_code=True)')


if __name__ == "__main__":
    command(main)
