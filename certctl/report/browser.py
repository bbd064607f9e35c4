"""The report as PDF, printed by a Chromium that is on the machine: the same page, so that nothing is laid out twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SECONDS = 120


class NoBrowser(ValueError):
    """There is no Chromium, or it did not print: one sentence with the remedy."""


def find_browser() -> str | None:
    """The path of a Chromium or Chrome, None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def print_pdf(page: Path, out: Path) -> Path:
    """Print a page that was written before.

    Parameters
    ----------
    page : Path
        The HTML file; it fetches nothing and runs nothing, so the network is not needed.
    out : Path
        The PDF file.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    NoBrowser
        When there is no Chromium on the machine, or it fails.
    """
    browser = find_browser()
    if browser is None:
        raise NoBrowser("printing a report as PDF needs Chromium or Chrome on the machine; install it, or open the HTML page and print it")
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium's sandbox does not start for root
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-extensions", f"--user-data-dir={profile}", *as_root]
        try:
            done = subprocess.run([browser, *options, f"--print-to-pdf={out.resolve()}", page.resolve().as_uri()], capture_output=True, text=True,
                                  timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise NoBrowser(f"{browser} did not print within {_SECONDS} s; open the HTML page and print it") from None
    if done.returncode != 0 or not out.is_file():
        raise NoBrowser(f"{browser} did not print (exit {done.returncode}); open the HTML page and print it")
    return out
