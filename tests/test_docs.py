"""The documents name everything public, and the README gives the commands that are tested."""

from __future__ import annotations

import ast
import configparser
import importlib
import inspect
import pkgutil
import re
import runpy
import types
from pathlib import Path

import pytest

import dobbin_like
from dobbin_like import (
    BTree,
    BTreeSet,
    Database,
    JobQueue,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    PersistentStream,
    exc,
    safe,
    testing,
)
from dobbin_like.indexes import Found
from dobbin_like.jobs import Claim, Job
from dobbin_like.safe import Safe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")
GUIDE = (ROOT / "doctests" / "guide.rst").read_text(encoding="utf-8")
DOCUMENTS = README + "".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "doctests").glob("*.rst"))
)
REFERENCE = "".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/reference").glob("*.rst"))
)


def is_named(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def commands() -> list[str]:
    return [line.strip() for line in README.splitlines() if "python3 -m venv" in line]


MODULES = (
    dobbin_like,
    *(
        importlib.import_module(f"dobbin_like.{name}")
        for name in (
            "check collections conformance history indexes jobs persistent repair safe search "
            "storage testing watch"
        ).split()
    ),
)
FOR_WEB = {"body", "ranges", "request"}
"""Modules of ``web`` that only others of it import."""

PUBLIC = {
    f"{module.__name__}.{name}": name
    for module in MODULES
    if module is not testing  # Its parts for simulations are told in the reference only.
    for name in module.__all__
}

PUBLIC |= {
    f"web.{file.stem}.{name}": name
    # Read, not imported: a framework may not be installed.
    for file in sorted((ROOT / "dobbin_like" / "web").glob("*.py"))
    for node in ast.parse(file.read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    for name in ast.literal_eval(node.value)
    if file.stem not in FOR_WEB
}

FOR_THE_PACKAGE = {"finish", "leave_to_parent", "moved"}
"""Of a safe: what other modules of the package call, and no program."""

INTERFACES = [
    BTree,
    BTreeSet,
    Claim,
    Database,
    Job,
    JobQueue,
    Found,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    PersistentStream,
    Safe,
]


def methods(cls: type) -> list[str]:
    """Return the public names of *cls* that no built-in class has explained already."""
    explained = {name for known in (dict, list, set) for name in dir(known)}
    if cls is Safe:
        explained |= FOR_THE_PACKAGE
    names = [name for name in dir(cls) if name[0] != "_" and name not in explained]
    return [name for name in names if hasattr(cls, name)]  # Not what only tells of another one.


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_documents(name: str) -> None:
    assert is_named(PUBLIC[name], DOCUMENTS)


def in_the_reference() -> set[int]:
    """Return the ids of all objects of which the reference gives the docstring."""
    for_others = ("web.", "fixtures.")  # They need what may not be installed.
    return {
        id(pkgutil.resolve_name(f"dobbin_like.{name}"))
        for name in names_in_the_reference()
        if not name.startswith(for_others)
    }


def names_in_the_reference() -> list[str]:
    return re.findall(r"^\.\. (?:auto|py:)\w+:: dobbin_like\.(\S+)$", REFERENCE, re.MULTILINE)


def test_every_public_name_for_web_applications_is_in_the_reference() -> None:
    there = names_in_the_reference()
    names = {name for name in PUBLIC if name.startswith("web.")}

    assert names - {*there} == {"web.starlette.AsgiTransactions"}  # It is that of web.asgi.


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: types.ModuleType) -> None:
    there = in_the_reference()
    names = [name for name in module.__all__ if name not in exc.__all__]  # Those are told below.

    assert [name for name in names if id(getattr(module, name)) not in there] == []


def test_the_reference_has_all_members_of_the_database_and_all_errors() -> None:
    for what in ("autoclass:: dobbin_like.Database", "automodule:: dobbin_like.exc"):
        assert f".. {what}\n   :members:\n" in REFERENCE

    assert {name for name, _ in inspect.getmembers(exc, is_error)} == set(exc.__all__)
    assert [name for name in exc.__all__ if not getattr(exc, name).__doc__] == []
    assert [name for name in methods(Database) if not getattr(Database, name).__doc__] == []


def is_error(each: object) -> bool:
    return (
        isinstance(each, type) and issubclass(each, Exception) and each.__module__ == exc.__name__
    )


def test_the_reference_names_every_command_and_every_option() -> None:
    pytest.importorskip("rich")
    import click

    from dobbin_like.cli import dobbin

    page = "\n".join(runpy.run_path(str(ROOT / "docs" / "commands.py"))["lines"]())

    assert ".. dobbin-commands::" in REFERENCE
    whole = click.Context(dobbin)
    names = dobbin.list_commands(whole)
    assert {"browse", "show", "top"} <= {*names}
    for name in names:
        command = dobbin.get_command(whole, name)
        assert command is not None
        assert f"dobbin {name}\n---" in page
        options = [each for each in command.params if not getattr(each, "hidden", True)]
        assert [text for each in options for text in each.opts if text not in page] == []
        assert [each.help for each in options if f"    {each.help}" not in page] == []


@pytest.mark.parametrize("cls", INTERFACES)
def test_every_method_is_in_the_documents(cls: type) -> None:
    assert [name for name in methods(cls) if not is_named(name, DOCUMENTS)] == []


def test_what_is_left_out_is_there() -> None:
    assert {*dir(Safe)} >= FOR_THE_PACKAGE


def test_every_collection_has_a_chapter_that_says_what_merging_allows() -> None:
    pages = [
        (ROOT / "doctests" / name).read_text(encoding="utf-8")
        for name in ("collections.rst", "btree.rst")
    ]

    assert [page.count("that this allows.**") for page in pages] == [3, 1]
    for word in (
        "*In a dict*",
        "*In a list*",
        "*In a set*",
        "PersistentQueue",
        "PersistentCounter",
    ):
        assert word in pages[0]
    assert "A ``BTreeSet`` is merged" in pages[1]


@pytest.mark.parametrize("name", safe.__all__)
def test_every_public_name_of_safes_is_in_their_document(name: str) -> None:
    assert is_named(name, (ROOT / "doctests" / "safe.rst").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", exc.__all__)
def test_every_error_is_in_the_appendix_of_the_guide(name: str) -> None:
    appendix = GUIDE.partition("Appendix: errors\n")[2]

    assert f"* - ``{name}``\n" in appendix


def test_the_appendix_names_no_error_that_there_is_not() -> None:
    appendix = GUIDE.partition("Appendix: errors\n")[2]

    assert set(re.findall(r"\* - ``(\w+)``\n", appendix)) == set(exc.__all__)


def test_every_file_that_the_readme_leads_to_is_there() -> None:
    links = re.findall(r"<([\w./]+)>`_", README)

    assert links
    assert [name for name in links if not (ROOT / name).exists()] == []


def test_every_module_that_a_docstring_leads_to_is_there() -> None:
    package = Path(dobbin_like.__file__).parent
    missing = []
    for file in package.rglob("*.py"):
        home = ".".join(("dobbin_like", *file.parent.relative_to(package).parts))
        for name in re.findall(r":mod:`~?([^`]+)`", file.read_text("utf-8")):
            full = f"{home}{name}" if name[0] == "." else name
            if full.startswith("dobbin_like."):
                place = package.joinpath(*full.split(".")[1:])
                if not (place.with_suffix(".py").exists() or place.is_dir()):
                    missing.append(f"{file.relative_to(package)}: {name}")

    assert missing == []


def test_every_file_that_contributors_are_led_to_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.rst").read_text(encoding="utf-8")
    files = re.findall(r"``(\w+/[\w/]+\.\w+)``", text)

    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_list_of_pages_for_assistants_has_every_page() -> None:
    there = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.rst")}
    listed = re.findall(r"\]\(([\w/-]+)\.html\)", there)

    assert there == "\n".join(runpy.run_path(str(ROOT / "docs" / "llms.py"))["lines"]()), (
        "python docs/llms.py > docs/llms.txt"
    )
    assert pages - {f"{name}.rst" for name in listed} == {
        "index.rst",
        "guide-index.rst",
        "explanation/index.rst",
        "howto/index.rst",
        "reference/index.rst",
    }


def test_the_readme_has_two_commands() -> None:
    assert len(commands()) == 2


def test_the_second_command_is_the_one_that_the_checks_run() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    body = re.search(r"^run_tests\(\) \{.*\n((?:    .*\n)+)\}", script, re.MULTILINE)
    assert body is not None
    steps = [line.strip().replace('"', "") for line in body[1].splitlines()]
    joined = " && ".join(steps).replace("$1", "python3").replace("$2", ".venv")

    assert "run_tests python3 .venv\n" in script
    assert commands()[1] == joined


def test_the_first_command_runs_a_script_that_its_extra_installs() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    # What the demo has stored can be seen in a browser, by another command.
    assert "'.[browse]'" in commands()[0]
    assert ".venv/bin/dobbin demo" in commands()[0]
    assert "``.venv/bin/dobbin browse dobbin-demo.log``" in README
    assert {"click>=8", "uvicorn>=0.30"} <= {*setup["options.extras_require"]["browse"].split()}
    assert re.search(r"^dobbin *=", setup["options.entry_points"]["console_scripts"], re.MULTILINE)


def test_the_changes_have_an_entry_for_this_version() -> None:
    changes = (ROOT / "CHANGES.rst").read_text(encoding="utf-8")

    assert re.findall(r"^(.+)\n-----", changes, re.MULTILINE)[0] == dobbin_like.__version__
