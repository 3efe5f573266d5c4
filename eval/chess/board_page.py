"""The board page: an analysis with all its data, or a page for play whose source values positions.

The files in eval/page/ and eval/chess/page/ are put together inline, so that the page is one file and loads
nothing.
"""

from pathlib import Path

import chess.svg

from eval.page_document import make_document, read_parts


FOLDER = Path(__file__).with_name("page")
SCRIPTS = (
    "positions.js",
    "board.js",
    "board_input.js",
    "histograms.js",
    "table.js",
    "words.js",
    "curve.js",
    "game.js",
    "play.js",
    "page.js",
)
NO_SOURCE = "const source = null;\n"


def render(data: dict, title: str, source: str = NO_SOURCE, policy: str = "") -> str:
    """Return the page of the data.

    `source` is the script that defines `source`, from which a page to play has rules and values: an object
    with `position` and `pgn`, see server_source.js. `policy` adds to the page's Content-Security-Policy what
    the source needs.
    """
    pieces = "".join(
        f'<symbol id="piece-{symbol}" viewBox="0 0 45 45">{shape}</symbol>'
        for symbol, shape in chess.svg.PIECES.items()
    )
    body = read_parts(FOLDER, ["page.html"]).replace("{{pieces}}", pieces)
    style, scripts = read_parts(FOLDER, ["page.css"]), source + read_parts(FOLDER, SCRIPTS)
    return make_document(title, body, data, style, scripts, policy)
