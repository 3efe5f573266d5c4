"""Pages as one self-contained document: a template, its parts, and its data as JSON."""

import json
import re
from collections.abc import Iterable
from pathlib import Path


SHARED = Path(__file__).with_name("page")  # parts of all pages


def read_parts(folder: Path, names: Iterable[str]) -> str:
    """Return the text of several files of style or script, one after the other."""
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def fill_template(template: Path, **parts: str) -> str:
    """Return a template with its {{names}} replaced."""
    # In one pass: data can hold {{data}}.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template.read_text(encoding="utf-8"))


def to_json(data: dict) -> str:
    """Return data as JSON for a script element. Text in the data stays text, whatever it contains."""
    # These could end the script element or open a comment.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
