"""The pages of the documentation with a sentence about each, for assistants: llms.txt.

python docs/llms.py > docs/llms.txt, when a page has come or gone; a test compares them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent

SECTIONS = {
    "Start": "index",
    "How-to": "howto/index",
    "Guide": "guide-index",
    "Reference": "reference/index",
    "Explanation": "explanation/index",
}
"""The sections, and the pages that list what is in each."""

_ENTRY = re.compile(r"^   ([\w/-]+)$", re.MULTILINE)
_INCLUDED = re.compile(r"^\.\. include:: (\S+)$", re.MULTILINE)
_TITLE = re.compile(r"^(?:={3,}\n)?(\S.*)\n={3,}\n", re.MULTILINE)
_ROLE = re.compile(r":\w+:`/?([^`<]+?)(?: <[^>]*>)?`")


def text_of(page: str) -> str:
    """Return the text of a page, or of what it consists of."""
    path = HERE / f"{page}.rst"
    text = path.read_text("utf-8")
    included = _INCLUDED.search(text)
    return (path.parent / included[1]).resolve().read_text("utf-8") if included else text


def about(page: str) -> tuple[str, str]:
    """Return the title of a page, and its first sentence, if it has one before all else."""
    text = text_of(page)
    title = _TITLE.search(text)
    assert title is not None, f"{page} has no title"
    paragraph = text[title.end() :].strip().partition("\n\n")[0]
    if paragraph.startswith((".. ", "*", "-", "=")) or re.search(r"^[-=]{3,}$", paragraph, re.M):
        return title[1], ""
    words = _ROLE.sub(r"\1", " ".join(paragraph.split())).replace("``", "`").replace("**", "")
    sentences = re.split(r"(?<=[.?])\s", words.removeprefix("This page continues the guide. "))
    return title[1], sentences[0].rstrip(":")


def listed(index: str) -> list[str]:
    """Return the pages that a page lists."""
    _, _, entries = text_of(index).partition(".. toctree::")
    folder = index.rpartition("/")[0]
    return [f"{folder}/{name}".lstrip("/") for name in _ENTRY.findall(entries)]


def lines() -> Iterator[str]:
    """Yield the lines of llms.txt."""
    title, sentence = about("index")
    yield from (f"# {title}", "", f"> {sentence}", "")
    indexes = set(SECTIONS.values())
    for section, index in SECTIONS.items():
        yield from (f"## {section}", "")
        for page in listed(index):
            if page not in indexes:
                name, what = about(page)
                yield f"- [{name}]({page}.html)" + (f": {what}" if what else "")
        yield ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
