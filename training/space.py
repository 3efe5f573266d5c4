"""Write the page where one plays a chess model without Python: a folder, or a static Space on the hub.

    python -m training.publish --run runs/chess_tiny --repo user/name --space user/name
    python -m training.space --model checkpoints/chess_3m --space chess_page
    python -m http.server 8001 --bind 127.0.0.1 --directory chess_page

The first publishes a run and its Space, the second writes the page of a published model to a folder, the
third shows it. In the browser onnxruntime-web runs onnx/model_fp16.onnx, and chess.js has the rules of chess.
"""

import argparse
import json
import shlex
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, SpaceCardData, constants, metadata_load

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from data.hub import check_upload, is_hub_id, make_repo, uploading
from eval.chess.analyse import model_data
from eval.chess.board_page import FOLDER, render
from eval.chess.onnx_network import OnnxNetwork
from eval.chess.strength import levels
from eval.model_folder import ONNX_FILES, ONNX_NAMES, local_folder
from eval.page_document import read_parts
from training.npm_packages import PACKAGES, fetch, unpack


SPACE_HELP = (
    "a page where one plays the model in the browser: a static Space on the hub, or a folder, such as "
    "chess_page or ./user/name, for any server of files"
)
LICENSE = Path(__file__).parents[1] / "LICENSE"
CHESS_MODELS = (  # those of VALUES in eval/chess/page/worker/position_data.js
    "ValueTransformerForActionValue",
    "ValueTransformerForStateValue",
    "ValueTransformerForMovePrediction",
)
PAGES = "there are pages for chess and, with a server, for Wordle (python -m eval.wordle.serve)"
MARK = "onnxruntime.wasm"  # a name that only this command gives the file
MODEL = ONNX_NAMES[1]
DESCRIPTION = """\
Play a chess model that does not search, and see its win probability for every move. It runs in your browser.

To show this folder on your own machine:

    python -m http.server 8001 --bind 127.0.0.1

`LICENSES.md` has the licences of the page and of its parts. The model has the licence of its own card.
"""


def is_on_hub(space: str) -> bool:
    """Return whether a Space is one on the hub, user/name, and no folder: ./user/name, or `user` is here."""
    return is_hub_id(space) and not Path(space).parent.is_dir()


def space_url(space: str) -> str:
    return f"{constants.ENDPOINT}/spaces/{space}"


def check_space(space: str, task: str = "chess") -> None:
    """Raise InputError if a Space cannot be written; call it before long work. Downloads its packages."""
    if task != "chess":
        raise InputError(f"models of {task} have no page without a server: leave out --space; {PAGES}")
    if is_on_hub(space):
        check_upload(space)
    else:
        folder = Path(space)
        if folder.exists() and not (folder / MARK).is_file():
            raise InputError(
                f"{folder} exists and is not a Space that this command wrote: choose another folder"
            )
        check_output(folder / MODEL, overwrite=True)
    for package in PACKAGES:
        fetch(package)


def publish_space(model: Path, space: str, repo: str | None = None, private: bool = False) -> None:
    """Write the Space of a model folder, to a folder or to the hub.

    `repo` is the model's id on the hub, which the Space links. Raises InputError if the model has no ONNX
    file for it, or the upload fails.
    """
    if not is_on_hub(space):
        with atomic_write(Path(space).resolve()) as unfinished:
            write_space(model, unfinished, repo)
        return
    api = HfApi()
    with tempfile.TemporaryDirectory(prefix="space-") as folder:
        write_space(model, Path(folder), repo)
        with uploading(space):
            make_repo(api, space, private, "space")
            api.upload_folder(repo_id=space, repo_type="space", folder_path=folder)


def write_space(model: Path, folder: Path, repo: str | None = None) -> None:
    """Write the files of the Space of a model folder to a new folder, as `publish_space` does."""
    onnx = onnx_of(model)
    network = OnnxNetwork(onnx)
    facts = model_data(repo or model, network)
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        unpack(package, folder)
    for file in (*(FOLDER / "worker").iterdir(), FOLDER / "LICENSES.md", LICENSE, onnx):
        shutil.copyfile(file, folder / file.name)
    support = network.move_support
    data = {
        "model": facts,
        "network": {
            "architecture": network.architecture,
            "orient": network.orient,
            "support": None if support is None else support.tolist(),
            "is_policy": network.is_policy,
        },
        "levels": levels(model, network.is_policy),
        # The same page with a server, in a clone; a folder here is unknown elsewhere.
        "command": f"python -m eval.chess.serve --model {repo}" if repo else None,
        "positions": [],
    }
    title = f"Play {facts['name']}"
    page = render(data, title, read_parts(FOLDER, ["onnx_source.js"]), "worker-src 'self'")
    (folder / "index.html").write_text(page, encoding="utf-8")
    card_file = model / "README.md"
    model_card = metadata_load(card_file) or {} if card_file.is_file() else {}
    metadata = SpaceCardData(
        title=title,
        emoji="♟️",
        colorFrom="gray",
        colorTo="blue",
        sdk="static",
        app_file="index.html",
        license=model_card.get("license"),
        models=[repo] if repo else None,
    )
    card = f"---\n{metadata}\n---\n\n# {title}\n\n{DESCRIPTION}"
    (folder / "README.md").write_text(card, encoding="utf-8")


def onnx_of(model: Path) -> Path:
    """Return the ONNX file that the page runs. Raises InputError if the folder has none of a chess model."""
    [held] = json.loads((model / "config.json").read_bytes()).get("architectures") or ["no known model"]
    if held not in CHESS_MODELS:
        raise InputError(f"{model} holds {held}, not a model that plays chess: give another; {PAGES}")
    file = model / "onnx" / MODEL
    if not file.is_file():
        raise InputError(f"{model} has no onnx/{MODEL}: python -m training.onnx_export --model {model}")
    return file


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.space",
        description="Write the page where one plays a published chess model in the browser; any server of "
        "files can show it. The model needs its ONNX files.",
    )
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="a folder of a model, or its id on the hub"
    )
    parser.add_argument("--space", required=True, metavar="DIR", help=SPACE_HELP)
    parser.add_argument("--private", action="store_true", help="create a private Space on the hub")
    arguments = parser.parse_args()
    if arguments.private and not is_on_hub(arguments.space):
        parser.error("--private needs a --space on the hub, such as user/name")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    check_space(arguments.space)
    model = local_folder(arguments.model, patterns=(*ONNX_FILES, "README.md"))
    repo = None if Path(arguments.model).is_dir() else arguments.model
    publish_space(model, arguments.space, repo, arguments.private)
    report(arguments.space)


def report(space: str) -> None:
    """Print where a Space is."""
    print(f"space:     {space_url(space) if is_on_hub(space) else space}")
    if not is_on_hub(space):
        print(f"show it:   python -m http.server 8001 --bind 127.0.0.1 --directory {shlex.quote(space)}")


if __name__ == "__main__":
    command(main)
