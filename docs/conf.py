"""How Sphinx builds the pages: sphinx-build -W docs build/docs."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path
from typing import Any

from docutils.nodes import Node, Text, document
from docutils.parsers.rst import Directive
from sphinx.addnodes import pending_xref

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import commands  # noqa: E402  beside this file

import dobbin_like  # noqa: E402  as of this source, not an installed one

project = "dobbin_like"
author = "The dobbin_like contributors"
release = version = dobbin_like.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
smartquotes = False  # They would make one dash of two, in the names of options.
html_theme = "furo"
html_extra_path = ["llms.txt"]  # For assistants; see llms.py.
html_title = f"dobbin_like {version}"

autodoc_member_order = "bysource"
# What modules for others need, where it is not installed.
autodoc_mock_imports = [
    name
    for name in ("django", "flask", "hypothesis", "pyramid", "starlette")
    if importlib.util.find_spec(name) is None
]
autodoc_typehints = "signature"
autodoc_use_type_comments = False
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Cost", "Requires", "Source"]


def leave_builtins(_app: Any, pages: document) -> None:
    """Let ``bytes`` in a signature be the built-in type, whatever attributes have this name."""
    for reference in list(pages.findall(pending_xref)):
        if reference["reftarget"] in vars(builtins):
            reference.replace_self(Text(reference["reftarget"]))


def tell_text(_app: Any, what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """Let an error have its text on the page: a reader who has got it looks for that."""
    text = vars(obj).get("text") if what == "exception" else None
    if text:
        lines += ["", f"``{text}``", ""]


class Commands(Directive):
    """All subcommands, each under a heading of its own."""

    def run(self) -> list[Node]:
        """Let their lines stand in the page."""
        self.state_machine.insert_input(list(commands.lines()), "dobbin --help")
        return []


def setup(app: Any) -> None:
    """Connect what is defined here."""
    app.add_directive("dobbin-commands", Commands)
    app.connect("doctree-read", leave_builtins)
    app.connect("autodoc-process-docstring", tell_text)
