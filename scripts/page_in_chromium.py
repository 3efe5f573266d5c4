"""Measure the page of a chess model in headless Chromium, and compare its moves with those of PyTorch.

    python -m training.space --model checkpoints/chess_3m --space chess_page
    python scripts/page_in_chromium.py --space chess_page --model checkpoints/chess_3m --boards 200

A server of files on this machine sends the page. The boards are those of the repository's sample. Needs the
package playwright and a Chromium.
"""

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import chess

from cli.errors import InputError, command
from cli.options import SHIPPED_MODEL, positive_int
from eval.chess.engines import ValueEngine


BOARDS = Path(__file__).parents[1] / "data" / "chess" / "sample" / "test_boards.parquet"


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", "connect-src 'self'")
        super().end_headers()


@contextmanager
def serving_folder(folder: str | Path) -> Iterator[str]:
    """Serve a folder, whose pages and workers may load nothing from elsewhere, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Measured(NamedTuple):
    """Seconds to the first value, from an empty cache; then of every further board; and the page's moves."""

    first: float
    further: list[float]
    moves: list[str]


def measure(space: str | Path, fens: list[str]) -> Measured:
    """Open the page of a folder and ask it for the values of boards."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise InputError("Chromium is not installed: docs/install.md says how to install programs")
    with serving_folder(space) as url, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium).new_page()
        page.goto(url)
        page.wait_for_selector("[data-ready]", state="attached")
        first = page.evaluate("performance.now() / 1000")
        further, moves = [], []
        for fen in fens:
            start = time.perf_counter()
            data = page.evaluate("(fen) => source.position({ fen, moves: [] })", fen)
            further.append(time.perf_counter() - start)
            moves.append(data["moves"][0][0])
    return Measured(first, further, moves)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure the page of a chess model in headless Chromium, and compare its moves with "
        "those of PyTorch."
    )
    parser.add_argument("--space", required=True, metavar="DIR", help="a folder that training.space wrote")
    parser.add_argument("--model", default=SHIPPED_MODEL, metavar="DIR", help="its model")
    parser.add_argument("--boards", type=positive_int, default=200, metavar="N", help="of the sample")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if not (Path(arguments.space) / "index.html").is_file():
        raise InputError(f"{arguments.space} holds no page: python -m training.space writes one")
    fens = pq.read_table(BOARDS, columns=["fen"])["fen"].to_pylist()[: arguments.boards]
    found = measure(arguments.space, fens)
    analyses = ValueEngine(arguments.model).analyse_many([chess.Board(fen) for fen in fens])
    same = sum(ours == theirs.best_move.uci() for ours, theirs in zip(found.moves, analyses, strict=True))
    low, median, high = 1000 * np.quantile(found.further, (0.25, 0.5, 0.75))
    print(f"first value after {found.first:.1f} s")
    print(f"then {median:.0f} ms a board, quartiles {low:.0f} to {high:.0f}")
    print(f"the same move as PyTorch on {same} of {len(fens)} boards")


if __name__ == "__main__":
    command(main)
