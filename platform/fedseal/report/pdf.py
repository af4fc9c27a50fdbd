"""The report as a PDF, printed by a browser that the machine has.

The page is made for paper too, with page numbers and breaks; a browser prints it as it prints it for a person. There is
no PDF library in between, because none that is pure Python lays out this page (decision 0036). Rules kept here: the
browser gets a private, empty profile, and a page without scripts or references; it has a time limit.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fedseal.errors import SetupError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
"""Looked for in this order; the variable below names another."""

VARIABLE = "FEDSEAL_BROWSER"
_SECONDS = 120


def to_pdf(page: bytes) -> bytes:
    """Print a report.

    Args:
        page: What `render_report` made.

    Returns:
        A PDF file.

    Raises:
        SetupError: There is no such browser here, or it could not print.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="fedseal-pdf-") as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_bytes(page)
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={target}",
            source.as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # the browser's sandbox does not work for root
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"{browser} could not print the report ({error}); {_INSTEAD}") from error
        if done.returncode != 0 or not target.is_file():
            raise SetupError(f"{browser} could not print the report (exit code {done.returncode}); {_INSTEAD}")
        return target.read_bytes()


def find_browser() -> str:
    """The browser that prints.

    Raises:
        SetupError: There is none.
    """
    wanted = os.environ.get(VARIABLE)
    for name in (wanted,) if wanted else BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    missing = f"{VARIABLE} names {wanted}, which is no program here" if wanted else "no Chromium, Chrome or Edge here"
    raise SetupError(f"a PDF is printed by a browser, and there is {missing}; {_INSTEAD}")


_INSTEAD = "write the report as HTML and print it from any browser, or install Chromium"
