"""What the tests of several files share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training_runs import tiny_settings


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> Iterator[None]:
    """Keep what commands cache out of the home folder; processes that tests start inherit it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> None:
    """Take signals as at a terminal: what a shell starts in the background, or nohup, is deaf to some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def settings(tmp_path_factory) -> list[str]:
    """Arguments of train.py for a run of seconds."""
    return tiny_settings(tmp_path_factory.mktemp("prepared") / "boards")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """Save a tiny chess model with its tokenizer; for reading alone, as all tests share it."""
    # Here, because the tests that need no model should not wait for torch.
    from models.tokenization_chess import ChessTokenizer
    from tests.test_engines import tiny_model

    folder = tmp_path_factory.mktemp("run") / "model"
    tiny_model().save_pretrained(folder)
    ChessTokenizer().save_pretrained(folder)
    return folder
