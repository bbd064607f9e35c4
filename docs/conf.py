"""The documentation site: ``make docs`` builds it from these pages, with warnings as errors; three pages are generated from the code."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from generate import write_reference  # noqa: E402

project, author, copyright = "certctl", "certctl developers", "certctl developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = "certctl"
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes = False  # "--" begins an option
napoleon_google_docstring = False
autodoc_typehints = "none"
autodoc_mock_imports = ["torch", "stable_baselines3", "gymnasium", "sklearn"]
autodoc_default_options = {"members": True, "show-inheritance": False}
# Links from a page to a file of the repository that is no page are links to the repository.
myst_url_schemes = ["http", "https", "mailto"]

write_reference(ROOT / "docs" / "_generated")


def setup(app):
    """Send links that leave docs/ to the repository, where those files are."""
    def redirect(app, document, source):
        folder = (ROOT / "docs" / document).parent
        for up in ("../", "../../"):
            for name in ("examples", "README.md", "benchmarks", "tests"):
                if (folder / up / name).resolve() == ROOT / name:
                    source[0] = source[0].replace(f"]({up}{name}", f"](https://github.com/certctl/certctl/blob/main/{name}")

    app.connect("source-read", redirect)
