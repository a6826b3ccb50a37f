"""The layering of the package: a table, and the test that holds every import to it.

A module may import

* what stands in a lower row of its own tower (rows are written lowest first),
* everything of the towers that its tower stands on,
* beside that, only what ``SIBLINGS`` and ``FOR_TYPES_ONLY`` name.

Modules of one row do not import each other. An import inside a function counts like
one at the head of the file. Names are those below ``dobbin_like``; the name of a
package (``log``) stands for its ``__init__``, and ``__init__`` for that of
``dobbin_like`` itself.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- the table --------------------------------------------------------------


class Tower(NamedTuple):
    stands_on: str
    rows: tuple[str, ...]


TOWERS = {
    "ground": Tower(
        stands_on="",
        rows=(
            "ids",
            "exc",
        ),
    ),
    "disk": Tower(
        stands_on="ground",
        rows=(
            "log.meta  log.status",
            "log.record  log.header  log.disk",
            "log.heads",
            "log.class_table  log.positions  log.lock  log.stream  log.file  log.reader  log.part",
            "log.aside",
            "log.redo  log.known_names  log.encoded",
            "log.loader  log.recovery  log.synced",
            "log.applied",
            "log.saved  log.mending",
            "log.walk  log.kept",
            "log.history",
            "log.writer  log.readable",
            "log.locked",
            "log.transaction_log",
            "log.packed_log",
            "log.new_log  log.original",
            "log.copying  log.snapshot_log",
            "log",
            "memory_log.lock",
            "memory_log.shared",
            "memory_log.readable",
            "memory_log.log",
            "memory_log.overlay",
            "memory_log",
        ),
    ),
    "memory": Tower(
        stands_on="ground",
        rows=(
            "persistent.entry  persistent.declared",
            "persistent.kinds  persistent.shapes",
            "persistent.guards  persistent.stand_in",
            "persistent.values  persistent.delta",
            "persistent.layered",
            "persistent.overlay",
            "persistent.overlay_dict  persistent.overlay_list  persistent.overlay_set",
            "persistent.overlays",
            "persistent.view",
            "persistent.faces",
            "persistent.base",
            "persistent.broken  persistent.policy  persistent.stream  persistent.versions",
            "persistent.classes",
            "persistent.serialize  persistent.shared  persistent.spool",
            "persistent.loose",
            "persistent.ghosts",
            "persistent.stored",
            "persistent.visible",
            "persistent.graph",
            "persistent.changes",
            "collections.common",
            "collections.views",
            "collections.dict  collections.list  collections.set",
            "collections.counter  collections.queue",
            "collections.btree_nodes",
            "collections.btree_walk",
            "collections.btree_plan",
            "collections.btree_tree",
            "collections.btree_check  collections.btree_views",
            "collections.btree  collections.btree_set",
            "persistent",  # It gives out the collections under its own name.
            "collections",
        ),
    ),
    "bridge": Tower(
        stands_on="ground  disk  memory",
        rows=(
            "storage",
            "conflicts  savepoint  synchronizer",
            "replay",
            "manager",
        ),
    ),
    "life": Tower(
        stands_on="ground  disk  memory  bridge",
        rows=(
            "life.mark  life.pace  life.moments",
            "life.moved  life.preload  life.way",
            "life.survivors",
            "life.carry",
            "life.pack",
            "life.auto_pack",
            "life.backup  life.snapshot",
            "life.commit",
            "life.rename  life.migrate",
            "life.states",
            "life.as_of",
            "life.history  life.sight",
            "life.instances  life.census  life.walk  life.referrers",
            "life.undo_parts",
            "life.feed  life.undo",
            "life.past  life.care  life.find",
            "life",
        ),
    ),
    "whole": Tower(
        stands_on="ground  disk  memory  bridge  life",
        rows=("opened  shown", "database"),
    ),
    "doors": Tower(
        stands_on="ground  disk  memory  bridge  life  whole",
        rows=(
            "check.report",
            "check.reach",
            "check.trees",
            "check.parts  check.header",
            "check.content  check.memory  check.protocol",
            "check.scan",
            "check",
            "repair.bits  repair.report  repair.new_log",
            "repair.source",
            "repair.parts",
            "repair.places",
            "repair.frames",
            "repair.salvage",
            "repair",
            "safe.stored  safe.groups  safe.growth  safe.ends",
            "safe.kept",
            "safe.mapping",
            "safe.opening",
            "safe.modules",
            "safe",
            "__init__",
            "conformance.harness",
            "conformance.run  conformance.model",
            "conformance.past  conformance.commits  conformance.news  conformance.locks",
            "conformance.streams  conformance.objects  conformance.snapshots",
            "conformance",
            "demo.parse",
            "demo.model",
            "demo.questions  demo.store",
            "demo.display  demo.workers",
            "demo.run",
            "demo",
            "cli.common  cli.difference",
            "cli.care  cli.look  cli.play",
            "cli",
            "__main__",
        ),
    ),
}

# A module, and the modules of its own row that it may import nevertheless.
SIBLINGS: dict[str, str] = {}

# A module, and the modules that it may import under ``if TYPE_CHECKING:`` only.
FOR_TYPES_ONLY: dict[str, str] = {
    "memory_log.overlay": "storage",  # What it lies over is any storage.
    "opened": "database",  # It keeps them.
    "synchronizer": "database",  # They serve the database that made them.
    "manager": "database",
    "life.feed": "database",  # They are given one.
    "life.commit": "database",
    "life.rename": "database",
    "life.migrate": "database",
    "life.preload": "database",
    "life.care": "database",  # It is part of it.
    "collections.views": "collections.dict",  # They show it.
    "savepoint": "manager",  # It belongs to the data manager that made it.
}

# A package outside the standard library, and the towers or modules that may import it.
OUTSIDE = {
    "transaction": "ground  memory  bridge  whole  doors",
    "zope": "bridge  whole",
    "portalocker": "disk",
    # An extra: the package must work without it.
    "click": "cli  cli.common  cli.care  cli.look  cli.play",
    "rich": "cli.common  cli.look  demo.display  demo.run",  # An extra too.
}

# -- the modules that are there ---------------------------------------------

PACKAGE = "dobbin_like"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}

# -- what the table says ----------------------------------------------------


class Place(NamedTuple):
    tower: str
    row: int


PLACES = {
    module: Place(tower, number)
    for tower, (_, rows) in TOWERS.items()
    for number, row in enumerate(rows)
    for module in row.split()
}


class Import(NamedTuple):
    target: str
    """A name below the package, or that of a package outside."""

    line: int
    is_ours: bool = True
    for_types: bool = False


def is_allowed(module: str, found: Import) -> bool:
    here = PLACES[module]
    if not found.is_ours:
        return not {module, here.tower}.isdisjoint(OUTSIDE.get(found.target, "").split())
    if found.for_types and found.target in FOR_TYPES_ONLY.get(module, "").split():
        return True
    if found.target in SIBLINGS.get(module, "").split():
        return True
    there = PLACES.get(found.target)
    if there is None:
        return False
    if there.tower == here.tower:
        return there.row < here.row
    return there.tower in TOWERS[here.tower].stands_on.split()


# -- what a file imports ----------------------------------------------------


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Yield every import of *source*, the text of *module*, wherever it stands."""
    own = PACKAGE if module == "__init__" else f"{PACKAGE}.{module}"
    package = own if is_package or module == "__init__" else own.rpartition(".")[0]
    for node, for_types in nodes(ast.parse(source)):
        for name in names_imported(node, package):
            head, _, rest = name.partition(".")
            if head == PACKAGE:
                yield Import(rest or "__init__", node.lineno, for_types=for_types)
            elif head not in sys.stdlib_module_names:
                yield Import(head, node.lineno, is_ours=False, for_types=for_types)


def nodes(node: ast.AST, *, for_types: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes below *node*, and whether only a type checker runs them."""
    is_guard = isinstance(node, ast.If) and ast.unparse(node.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                below = for_types or (is_guard and field == "body")
                yield child, below
                yield from nodes(child, for_types=below)


def names_imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names of the modules that *node* imports, if it imports any."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=name, names=names, level=level):
            base = absolute("." * level + (name or ""), package)
            yield from sorted({member(base, alias.name) for alias in names})
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield absolute(name, package)


def absolute(name: str, package: str) -> str:
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return bare
    parts = package.split(".")
    parts = parts[: len(parts) - level + 1]
    return ".".join([*parts, bare] if bare else parts)


def member(base: str, name: str) -> str:
    """Return the module that ``from base import name`` reads: *base*, or one inside it."""
    inner = f"{base}.{name}"
    below = inner.removeprefix(f"{PACKAGE}.")
    return inner if below != inner and (below in FILES or below in PLACES) else base


# -- the tests --------------------------------------------------------------


def test_the_table_names_every_module() -> None:
    assert sorted(set(FILES) - set(PLACES)) == []


def test_the_table_names_no_module_that_is_gone() -> None:
    exceptions = {**SIBLINGS, **FOR_TYPES_ONLY}
    named = {*PLACES, *exceptions, *" ".join(exceptions.values()).split()}

    assert sorted(named - set(FILES)) == []


def test_the_table_names_every_module_once() -> None:
    named = [module for _, rows in TOWERS.values() for row in rows for module in row.split()]

    assert sorted(named) == sorted(PLACES)


def test_a_tower_stands_on_towers_written_before_it() -> None:
    towers = list(TOWERS)
    for number, (tower, (stands_on, _)) in enumerate(TOWERS.items()):
        assert set(stands_on.split()) <= set(towers[:number]), tower


def test_siblings_stand_in_one_row() -> None:
    for module, siblings in SIBLINGS.items():
        for sibling in siblings.split():
            assert PLACES[module] == PLACES[sibling], (module, sibling)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    if module not in PLACES:
        pytest.fail(f"{module} stands in no row of the table")
    path = FILES[module]

    forbidden = [
        f"{path.relative_to(ROOT.parent)}:{found.line}: {module} may not import {found.target}"
        for found in imports_of(
            path.read_text("utf-8"), module, is_package=path.name == "__init__.py"
        )
        if not is_allowed(module, found)
    ]

    assert forbidden == []


@pytest.mark.parametrize(
    ("module", "source", "targets"),
    [
        ("exc", "import dobbin_like.ids", ["ids"]),
        ("exc", "from dobbin_like.ids import Oid, Tid", ["ids"]),
        ("exc", "from dobbin_like import ids, database", ["database", "ids"]),
        ("exc", "from dobbin_like import __version__", ["__init__"]),
        ("exc", "import dobbin_like", ["__init__"]),
        ("exc", "from .ids import Oid", ["ids"]),
        ("exc", "from . import ids", ["ids"]),
        ("log.lock", "from ..ids import Oid", ["ids"]),
        ("log.lock", "from .record import encode", ["log.record"]),
        ("log.lock", "from . import record", ["log.record"]),
        ("log.lock", "from . import TransactionLog", ["log"]),
        ("log.lock", "from .. import database", ["database"]),
        ("log", "from .lock import Lock", ["log.lock"]),
        ("log", "from ..exc import Error", ["exc"]),
        ("__init__", "from .exc import Error", ["exc"]),
        ("ids", "def f():\n    from dobbin_like.nowhere import x", ["nowhere"]),
        ("ids", "import importlib\nimportlib.import_module('dobbin_like.exc')", ["exc"]),
        ("ids", "__import__('dobbin_like.exc')", ["exc"]),
        ("ids", "import os, json.decoder, click", ["click"]),
    ],
)
def test_every_form_of_import_is_seen(module: str, source: str, targets: list[str]) -> None:
    found = imports_of(source, module, is_package=module == "log")

    assert [entry.target for entry in found] == targets


def test_only_the_guarded_branch_is_for_types() -> None:
    source = "if TYPE_CHECKING:\n    import dobbin_like.exc\nelse:\n    import dobbin_like.ids"

    assert [(found.target, found.for_types) for found in imports_of(source, "log")] == [
        ("exc", True),
        ("ids", False),
    ]


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("ids", "exc"),
        ("log.header", "log.lock"),
        ("log.record", "log"),
        ("log.record", "persistent"),
        ("persistent.view", "log.record"),
        ("persistent.view", "database"),
        ("storage", "manager"),
        ("database", "__init__"),
        ("database", "nowhere"),
    ],
)
def test_upward_and_sideward_imports_are_forbidden(module: str, target: str) -> None:
    assert not is_allowed(module, Import(target, 1))
