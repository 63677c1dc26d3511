"""The user help: docs/zh is its one source; a page's help is the part under its own title."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "zh"
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
REPORTS = "报表"
"""The group whose help is a document of its own."""


@cache
def chapter(title: str) -> Markup | None:
    """The help under this title as HTML, None when there is none; "" gives what stands before the first title."""
    if title == REPORTS:
        return _html(_read("reports.md").partition("\n")[2])
    parts = re.split(r"(?m)^#{2,3} (.+)$", _read("console.md").partition("\n")[2])
    found = {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    return _html(found[title]) if title in found else None


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _html(text: str) -> Markup:
    # Our own document, with raw HTML switched off: what comes of it is safe as it is.
    return Markup(_MARKDOWN.render(text))  # noqa: S704
