"""Templates to text. Every string is escaped; a page's style and script are parts of it, known by their digests."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from importlib import resources

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from noiseproof.analysis import FeatureMap
from noiseproof.reporting.shapes import feature_map_marks, range_chart

__all__ = ["map_markup", "policy", "range_markup", "render", "sheet"]


def render(template: str, **values: object) -> str:
    """Fill in a template of this package."""
    return _environment().get_template(template).render(**values)


@functools.cache
def sheet(name: str) -> Markup:
    """A style sheet or script of this package, to be put into a page as it is."""
    text = (resources.files("noiseproof.reporting") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this package


def policy() -> str:
    """What a page may do: show its own style, script and pictures, and reach nothing else at all."""
    style, script = (_digest(str(sheet(name))) for name in ("page.css", "page.js"))
    return (
        f"default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; base-uri 'none'; "
        "form-action 'none'"
    )


def range_markup(found: Mapping[str, NDArray[np.floating]], axis: str) -> str:
    """Draw how each model's values are spread, on a logarithmic axis: see :func:`range_chart`.

    Args:
        found: values by model.
        axis: what they are.
    """
    return render("ranges.html.j2", chart=range_chart(found), axis=axis)


def map_markup(found: Mapping[str, FeatureMap]) -> str:
    """Draw maps of features, for each model clean and noisy beside each other.

    Args:
        found: by model, all of the same classes.
    """
    first = next(iter(found.values()))
    there = [(c, name) for c, name in enumerate(first.class_names) if (first.labels == c).any()]
    return render(
        "maps.html.j2", models=[(title, feature_map_marks(each)) for title, each in found.items()], classes=there
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("noiseproof.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
