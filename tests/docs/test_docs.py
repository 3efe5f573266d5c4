"""The README and docs/ name paths, commands and settings that exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoModel

from configs.loading import load_config
from tests.support.commands import REPOSITORY


PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
LONGEST_CODE_LINE, LONGEST_LINE = 100, 140
MOST_README_LINES = 150
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_id(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def fenced_blocks(page: Path, language: str) -> list[str]:
    return [block for name, block in FENCED.findall(page.read_text()) if name == language]


def code_lines(page: Path) -> list[str]:
    """Return the lines of fenced blocks, and of blocks indented by four spaces."""
    text = page.read_text()
    fenced = [line for _, block in FENCED.findall(text) for line in block.splitlines()]
    return fenced + re.findall(r"^    (.*)$", FENCED.sub("", text), re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Yield the shell commands of indented blocks, with continued lines joined."""
    text = FENCED.sub("", page.read_text())
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        yield from re.sub(r" *\\\n *", " ", block).splitlines()


def module_calls(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the module and the arguments of every command of this project."""
    for command in commands(page):
        for part in re.split(r"&&|\|", command):
            found = re.search(r"(?:python -m ([\w.]+)|(train|scripts/\w+)\.py)(.*)", part)
            if not found:
                continue
            module = found[1] or found[2].replace("/", ".")
            if (REPOSITORY / module.split(".")[0]).is_dir() or module == "train":
                yield module, shlex.split(found[3], comments=True)


def tree_paths(block: str) -> Iterator[str]:
    """Yield the paths of an indented tree: `name, name  gloss`, four spaces per level."""
    folders: list[str] = []
    for line in block.splitlines():
        names = re.split(r" {2,}", line.strip())[0]
        level = (len(line) - len(line.lstrip())) // 4
        del folders[level:]
        for name in names.split(", "):
            yield "".join([*folders, name])
        if names.endswith("/"):
            folders.append(names)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_path_of_the_tree_exists():
    (tree,) = fenced_blocks(REPOSITORY / "docs/architecture.md", "text")
    paths = list(tree_paths(tree))
    assert len(paths) > 80
    assert not [path for path in paths if not (REPOSITORY / path).exists()]


def test_the_tree_names_every_folder_of_code():
    (tree,) = fenced_blocks(REPOSITORY / "docs/architecture.md", "text")
    folders = {path.parent for path in REPOSITORY.glob("*/**/__init__.py")}
    folders = {f"{folder.relative_to(REPOSITORY)}/" for folder in folders if ".venv" not in folder.parts}
    assert folders <= set(tree_paths(tree))


def test_code_blocks_of_the_readme_are_narrow():
    assert not [line for line in code_lines(REPOSITORY / "README.md") if len(line) > LONGEST_CODE_LINE]


def test_prose_is_wrapped():
    lines = [line for page in PAGES for line in FENCED.sub("", page.read_text()).splitlines()]
    assert not [line for line in lines if len(line) > LONGEST_LINE and not line.startswith(("|", "    "))]


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_resolve(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_files_exist(page):
    for module, _ in module_calls(page):
        assert find_spec(module), module
    for path in re.findall(
        r"(?:python|bash|sbatch[\w\d -]*|--config_file) ([\w./]+\.(?:py|sh|yaml))", page.read_text()
    ):
        assert (REPOSITORY / path).exists(), path


def test_the_readme_trains_without_a_launcher_first():
    """Below an error, and after Ctrl-C, `accelerate launch` prints a traceback of its own."""
    lines = [line for line in commands(REPOSITORY / "README.md") if "train.py" in line]
    assert lines[0].strip() == "python train.py --config chess_tiny.yaml"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_settings_exist(page):
    for module, arguments in module_calls(page):
        if module == "train" and (REPOSITORY / "configs" / arguments[1]).exists():
            boards = ["data.train=boards.parquet"] if arguments[1].startswith("chess") else []
            load_config(arguments[1], [*boards, "output_dir=runs/test", *arguments[2:]])


def test_files_that_commands_of_the_pages_write_are_ignored_by_git():
    lines = [line for page in PAGES for line in commands(page)]
    written = {"boards.parquet", "held_out.parquet", "elo/games.pgn", "runs/chess_tiny/model", ".venv/bin"}
    for line in lines:
        # Names in capitals stand for any.
        written |= set(re.findall(r"--(?:output|json|pgn|plot|folder|space) ([a-z_][\w./]*)", line))
        written |= {Path(url).name for url in re.findall(r"curl .*-O (\S+)", line)}
    assert len(written) > 10
    written -= {"checkpoints/chess_3m", "user/name"}  # part of the repository, and a name on the hub
    command = ["git", "check-ignore", "--no-index", *sorted(written)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert set(result.stdout.splitlines()) == written


def test_commands_take_the_arguments_that_the_pages_give_them(monkeypatch, capsys):
    refused, parsed = [], 0
    for page in [*PAGES, *REPOSITORY.glob("checkpoints/*/README.md")]:
        for module, arguments in module_calls(page):
            if module == "train" or arguments[:1] == ["[NAME"]:  # settings, see above, and a synopsis
                continue
            is_folder = (REPOSITORY / module.replace(".", "/")).is_dir()
            monkeypatch.setattr(sys, "argv", [module, *arguments])
            parsed += 1
            try:
                import_module(f"{module}.__main__" if is_folder else module).parse_arguments()
            except SystemExit:
                refused.append(f"{page.name}: {capsys.readouterr().err.splitlines()[-1]}")
    assert parsed > 50
    assert not refused


def test_the_model_of_the_readme_loads(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (code,) = (block for block in fenced_blocks(REPOSITORY / "README.md", "python") if "AutoModel" in block)
    assert len(code.splitlines()) == 6
    exec(code, {})
    assert "tensor([[0." in capsys.readouterr().out


def test_the_trainer_of_the_training_page_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (code,) = fenced_blocks(REPOSITORY / "docs/training.md", "python")
    code = code.replace("runs/trainer", str(tmp_path)).replace("max_steps=100", "max_steps=2, use_cpu=True")
    scope = {}
    exec(code, scope)
    before = AutoModel.from_pretrained(**scope["load"]).state_dict()
    assert "'train_loss': " in capsys.readouterr().out
    changed = [name for name, weight in scope["model"].state_dict().items() if not weight.equal(before[name])]
    assert len(changed) > 50


def test_the_engine_of_the_chess_page_plays(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (code,) = fenced_blocks(REPOSITORY / "docs/chess.md", "python")
    exec(code, {})
    *moves, chosen = capsys.readouterr().out.splitlines()
    assert len(moves) == 20 and len(chosen) == 4
