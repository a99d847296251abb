"""A report as one HTML page that needs nothing else: no network, no file beside it.

Nothing runs on it but the script of this folder, and nothing is styled but by its sheet: the page's policy names the
hashes of both. All text is escaped by the template; what a script reads is JSON in which no `<` stands.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from genomai_cli.names import printable
from genomai_cli.reports.sections import Section

TEMPLATES = "templates"


@dataclass(frozen=True)
class Page:
    """A title, a line below it, and sections."""

    title: str
    lead: str
    sections: Sequence[Section]


def rendered(page: Page) -> bytes:
    """The page as UTF-8, one line end a section, the same bytes for the same content."""
    style, script = file_text("page.css"), file_text("page.js")
    html = _templates().get_template("page.html.j2")
    text = html.render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
    )
    return text.encode()


def policy(style: str, script: str) -> str:
    """What the page may do: its own script, its own style, no network."""
    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """The hash of an inline script or style, as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def file_text(name: str) -> str:
    """A file of the templates."""
    return files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FunctionLoader(file_text),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_json"] = as_json
    return environment


def _printable_value(value: Any) -> Any:
    """Text without control characters, and without what is no Unicode."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def as_json(value: Any) -> Markup:
    """JSON that can stand in an element of a page: no character of it ends or begins one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
