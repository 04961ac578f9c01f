"""How the site is built: ``sphinx-build -W -b html docs site``."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

project = "noiseproof"
copyright = "the noiseproof authors, Apache-2.0"
release = metadata.version("noiseproof")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source"]

suppress_warnings = ["ref.python"]  # every method has a class Options of its own

html_theme = "furo"
html_title = "noiseproof"
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """Two differences between how sources are written and what the generator takes."""
    app.connect("source-read", _name_what_lies_outside)
    app.connect("autodoc-process-docstring", _keep_bars)


def _name_what_lies_outside(_: Any, __: str, source: list[str]) -> None:
    """Links to files that are not part of the site become their paths in the repository."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", r"\1 (`\2`)", source[0])


def _keep_bars(_: Any, __: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    """|C| is the size of a set here, not a substitution."""
    for index, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        lines[index] = "``".join(parts)
