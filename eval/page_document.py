"""Pages as one self-contained document: its parts inline, and its data as JSON."""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path


SHARED = Path(__file__).with_name("page")  # parts of all pages


def read_parts(folder: Path, names: Iterable[str]) -> str:
    """Return the text of several files of style or script, one after the other."""
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def make_document(title: str, body: str, data: dict, style: str, scripts: str, policy: str) -> str:
    """Return a page with the style and the scripts of all pages, and its own.

    The page may load nothing; `policy` adds to its Content-Security-Policy.
    """
    parts = {
        "title": html.escape(title),
        "policy": f"; {policy}" if policy else "",
        "style": read_parts(SHARED, ["basics.css"]) + style,
        "body": body,
        "data": to_json(data),
        "scripts": read_parts(SHARED, ["elements.js", "histogram.js"]) + scripts,
    }
    # In one pass: data can hold {{data}}.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_parts(SHARED, ["document.html"]))


def to_json(data: dict) -> str:
    """Return data as JSON for a script element. Text in the data stays text, whatever it contains."""
    # These could end the script element or open a comment.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
