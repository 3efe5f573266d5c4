"""Pages in headless Chromium, as a person sees and uses them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.support.commands import free_port, start_command
from tests.support.programs import find_program


READY = 'html[data-ready="true"]'  # which the scripts of a page set at their end


@contextmanager
def open_page(url: str, expected_error: str | None = None, **context: object) -> Iterator[Page]:
    """Open a page and wait until its scripts have run.

    `context` has options of playwright's contexts, such as the viewport. Raises AssertionError at the end if
    a script failed, or the console has an error without the words `expected_error`. The console also has
    an error for every refused request, and for every load that the page's policy forbids.
    """
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"))
        page = browser.new_page(**context)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(url)
        page.wait_for_selector(READY, state="attached")
        yield page
        browser.close()
    unexpected = [error for error in errors if expected_error is None or expected_error not in error]
    assert not unexpected, unexpected


def dom_of(path: Path, fragment: str = "", script: str = "") -> str:
    """Return the DOM of a file after its scripts, and then `script`, have run."""
    with open_page(f"{path.as_uri()}{fragment}") as page:
        if script:
            page.evaluate(script)
        return page.content()


@contextmanager
def serving(module: str, *arguments: object) -> Iterator[str]:
    """Run `python -m module` with a --port, and yield the address that it prints; Ctrl-C ends it."""
    process = start_command(module, *arguments, "--port", free_port())
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield line.split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
