"""The programs and the shell commands of the pages run, and print what the pages say."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BLOCK = re.compile(
    r"^( *)\.\. code-block:: (?:console|\w+\n\1   :caption: (.+))\n\n((?:\1   .*\n|\n)+)",
    re.MULTILINE,
)
"""A file, which its caption names, or commands of a shell with what they print."""

PAGES = [
    path
    for path in sorted((ROOT / "docs").rglob("*.rst"))
    if BLOCK.search(path.read_text("utf-8"))
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a reader, where ``python`` and ``dobbin`` are those of this test."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, call in (("python", ""), ("dobbin", "-m dobbin_like")):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        script.chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def commands(body: str) -> list[tuple[str, str]]:
    """Return each command of a block and what it prints."""
    _, *parts = re.split(r"^\$ ", textwrap.dedent(body), flags=re.MULTILINE)
    pairs = (part.partition("\n") for part in parts)
    return [(command, f"{output.rstrip()}\n".lstrip("\n")) for command, _, output in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_prints_what_it_says(
    page: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    place = tmp_path / "reader"
    place.mkdir()
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

    for _, name, body in BLOCK.findall(page.read_text("utf-8")):
        if name:
            (place / name).write_text(textwrap.dedent(body).strip() + "\n")
            continue
        for command, expected in commands(body):
            ended = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=place,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert checker.check_output(expected, ended.stdout, flags), (
                f"$ {command}\n{ended.stdout}\nexpected\n{expected}"
            )
