"""The layers of the package: a table, and the tests that hold every import to it.

The package is a house. A *room* is a folder, or what stands at the top under one name; it has
*floors*. A module may import

* what stands on a lower floor of its own room (floors are written lowest first),
* everything in the rooms that its room stands on.

Modules of one floor do not import each other. There is no other exception: an import inside a
function counts like one at the head of the file, and so does one that only a type checker
runs, so that there is no circle of any kind. What is imported late, by its name, is found too.
Names are those below ``dobbin_like``; the name of a folder (``log``) stands for its
``__init__``, and ``__init__`` for that of ``dobbin_like`` itself.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- the table --------------------------------------------------------------


class Room(NamedTuple):
    stands_on: str
    floors: tuple[str, ...]


HOUSE = {
    "ground": Room(
        "",
        (
            "ids  in_place  late  processes  processes.children  processes.interrupts "
            "processes.left  processes.refusals  processes.signals  processes.threaded_dict",
            "contract.stored  exc.base  processes.threads",
            "contract.storage  exc.classes  exc.conflicts  exc.indexes  exc.log  exc.objects "
            "exc.tools  exc.transactions",
            "contract.distant  contract.packed",
            "contract.recognize",
            "contract  exc  mistaken  mistaken.arguments  processes.collector  processes.reopened "
            "texts  warn_after  warn_outside",
            "mistaken.attributes  mistaken.paths  name_tables  timestamps",
        ),
    ),
    "log.format": Room(
        "ground",
        (
            "log.format  log.format.header  log.format.meta",
            "log.format.record",
            "log.format.saved",
        ),
    ),
    "log.file": Room(
        "ground  log.format",
        (
            "log.file  log.file.disk  log.file.lock_table",
            "log.file.range_lock  log.file.rights  log.file.status",
            "log.file.file_lock  log.file.lock  log.file.range_wait  log.file.words",
            "log.file.log_file  log.file.new_file",
            "log.file.at_path",
        ),
    ),
    "log.reading": Room(
        "ground  log.format  log.file",
        (
            "log.reading  log.reading.positions  log.reading.reader  log.reading.streams",
            "log.reading.chain  log.reading.loader  log.reading.places",
            "log.reading.log_index  log.reading.saved_positions",
            "log.reading.generations  log.reading.opening  log.reading.walk",
            "log.reading.readable",
            "log.reading.history",
        ),
    ),
    "log.writing": Room(
        "ground  log.format  log.file  log.reading",
        (
            "log.writing  log.writing.encode  log.writing.flusher  log.writing.syncing "
            "log.writing.waiting",
            "log.writing.recovery",
            "log.writing.presence",
            "log.writing.appended",
            "log.writing.writer",
            "log.writing.durability",
            "log.writing.writable",
        ),
    ),
    "log": Room(
        "ground  log.format  log.file  log.reading  log.writing",
        (
            "log.counts  log.path_watch",
            "log.transaction_log",
            "log",
        ),
    ),
    "log.copies": Room(
        "ground  log.format  log.file  log.reading  log.writing",
        (
            "log.copies  log.copies.backup_source  log.copies.new_log  log.copies.packed_log "
            "log.copies.replaced_log",
            "log.copies.backup_copy",
        ),
    ),
    "objects.values": Room(
        "ground",
        (
            "objects.values  objects.values.reduced  objects.values.refs",
            "objects.values.here",
            "objects.values.owners",
            "objects.values.shapes  objects.values.value_kinds",
            "objects.values.declared  objects.values.guards",
            "objects.values.short  objects.values.values",
            "objects.values.comparison  objects.values.lost_keys  objects.values.tables",
        ),
    ),
    "objects.deltas": Room(
        "ground  objects.values",
        (
            "objects.deltas  objects.deltas.delta",
            "objects.deltas.layered",
            "objects.deltas.overlay",
            "objects.deltas.overlay_dict",
            "objects.deltas.overlays",
        ),
    ),
    "objects.faces": Room(
        "ground  objects.values  objects.deltas",
        (
            "objects.faces  objects.faces.classes  objects.faces.elsewhere "
            "objects.faces.working_copy",
            "objects.faces.classes.cached",
            "objects.faces.classes.methods",
            "objects.faces.classes.declaration",
            "objects.faces.classes.faces",
            "objects.faces.classes.metaclass  objects.faces.lookup",
            "objects.faces.base  objects.faces.view",
            "objects.faces.asking  objects.faces.broken  objects.faces.stored_attribute "
            "objects.faces.stream",
        ),
    ),
    "objects.codec": Room(
        "ground  objects.values  objects.deltas  objects.faces",
        (
            "objects.codec  objects.codec.instances  objects.codec.instances.fields  "
            "objects.codec.instructions  objects.codec.policy  objects.codec.refused  "
            "objects.codec.refused.instead  objects.codec.stand_in  objects.codec.versions",
            "objects.codec.instances.makers",
            "objects.codec.classes",
            "objects.codec.serialize",
            "objects.codec.rebuild",
            "objects.codec.refused.culprit  objects.codec.shown  objects.codec.shown.long_list "
            "objects.codec.shown.preview",
            "objects.codec.references  objects.codec.state_reader",
            "objects.codec.state_writer  objects.codec.stream_keys",
            "objects.codec.delta_base",
        ),
    ),
    "objects.graph": Room(
        "ground  objects.values  objects.deltas  objects.faces  objects.codec",
        (
            "objects  objects.graph  objects.graph.counts  objects.graph.flat_states "
            "objects.graph.spool",
            "objects.graph.masks",
            "objects.graph.cache",
            "objects.graph.idle_views",
            "objects.graph.publication",
            "objects.graph.ghosts",
            "objects.graph.state_source",
            "objects.graph.resolve",
            "objects.graph.graph",
            "objects.graph.changed_values  objects.graph.changes",
        ),
    ),
    "collections.btree": Room(
        "ground  objects.values  objects.faces",
        (
            "collections.btree  collections.btree.nodes",
            "collections.btree.walk",
            "collections.btree.build  collections.btree.plan",
            "collections.btree.change",
            "collections.btree.tree",
            "collections.btree.check  collections.btree.views",
            "collections.btree.tree_map  collections.btree.tree_set",
        ),
    ),
    "collections": Room(
        "ground  objects.values  objects.deltas  objects.faces  collections.btree",
        (
            "collections.common  collections.counter",
            "collections.dict  collections.list  collections.queue  collections.set",
            "collections",
        ),
    ),
    "storages": Room(
        "ground  log.writing",
        (
            "storages  storages.as_of  storages.head  storages.memory_lock",
            "storages.memory_reading",
            "storages.memory",
        ),
    ),
    "indexes.kept": Room(
        "ground  objects.values  objects.faces  objects.graph  collections.btree",
        (
            "indexes.kept  indexes.kept.sortable",
            "indexes.kept.catalog",
            "indexes.kept.definition",
            "indexes.kept.keeper",
        ),
    ),
    "storages.postgres": Room(
        "ground  log.format  log.file  log.writing  storages",
        (
            "storages.postgres  storages.postgres.lines",
            "storages.postgres.wire",
            "storages.postgres.tables",
            "storages.postgres.ahead  storages.postgres.offers  storages.postgres.packs "
            "storages.postgres.packs.existing  storages.postgres.packs.pins "
            "storages.postgres.packs.statements  storages.postgres.streams",
            "storages.postgres.at_head  storages.postgres.cache "
            "storages.postgres.cache.cache_file  storages.postgres.creation "
            "storages.postgres.sending",
            "storages.postgres.cache.update",
            "storages.postgres.reading",
            "storages.postgres.packs.packing  storages.postgres.writer",
            "storages.postgres.log",
        ),
    ),
    "transactions": Room(
        "ground  objects.values  objects.deltas  objects.faces  objects.graph  indexes.kept",
        (
            "transactions  transactions.compare_sides  transactions.in_commit "
            "transactions.lost_changes  transactions.old_snapshots "
            "transactions.package_internals",
            "transactions.publisher  transactions.savepoint",
            "transactions.conflicts  transactions.fork  transactions.thread_view",
            "transactions.replay",
            "transactions.commit  transactions.commit.before_lock  transactions.commit.failure "
            "transactions.commit.lock  transactions.commit.request_manager "
            "transactions.commit.state",
            "transactions.commit.annotations  transactions.commit.joining "
            "transactions.commit.unseen  transactions.own_commit",
            "transactions.commit.conflict_search  transactions.commit.index_changes",
            "transactions.data_manager",
        ),
    ),
    "store": Room(
        "ground  objects.values  objects.faces  objects.codec  objects.graph  transactions",
        ("store",),
    ),
    "blocks": Room(
        "ground  objects.values  transactions  store",
        (
            "blocks  blocks.under_way",
            "blocks.tasks",
            "blocks.block",
            "blocks.again  blocks.alone",
        ),
    ),
    "history": Room(
        "ground  objects.values  objects.deltas  objects.faces  objects.codec  objects.graph "
        "collections  storages  transactions  store",
        (
            "history.outcome  history.states",
            "history.feed  history.revisions  history.undo",
            "history",
        ),
    ),
    "search": Room(
        "ground  objects.faces  objects.codec  storages  store",
        (
            "search.snapshot_scan",
            "search.questions  search.walk",
            "search",
        ),
    ),
    "indexes": Room(
        "ground  objects.values  objects.deltas  objects.faces  objects.graph  indexes.kept  "
        "transactions  store  blocks  search",
        (
            "indexes.conditions  indexes.known  indexes.scan  indexes.sweep",
            "indexes.plan",
            "indexes.build  indexes.search",
            "indexes.find",
            "indexes",
        ),
    ),
    "upkeep": Room(
        "ground  log.format  log.file  log.reading  log  log.copies  objects.values "
        "objects.deltas  objects.faces  objects.codec  objects.graph  storages "
        "storages.postgres  transactions  store  indexes",
        (
            "upkeep  upkeep.backup  upkeep.migrate  upkeep.packs  upkeep.packs.report "
            "upkeep.packs.used_names  upkeep.preload  upkeep.rename  upkeep.throttle",
            "upkeep.copy  upkeep.pack_plan  upkeep.snapshot",
            "upkeep.follow",
            "upkeep.pack_copy  upkeep.packs.rows",
            "upkeep.pack",
            "upkeep.auto_pack",
            "upkeep.restore",
        ),
    ),
    "watch": Room(
        "ground  log.file  log  objects.values  transactions  store",
        (
            "watch.activity  watch.notebook  watch.stats",
            "watch",
        ),
    ),
    "doors": Room(
        "ground  log  objects.faces  collections  storages  storages.postgres  store  blocks  "
        "history  search  indexes  upkeep  watch",
        ("database  persistent  storage  storage.postgres",),
    ),
    "jobs": Room(
        "ground  objects.values  objects.faces  collections  transactions  store  blocks  doors",
        (
            "jobs.parts",
            "jobs.patience",
            "jobs.claim",
            "jobs.queue",
            "jobs",
        ),
    ),
    "check": Room(
        "ground  log.format  log.file  log.reading  objects.values  objects.faces  objects.codec "
        "collections.btree  indexes.kept  store  search  indexes  doors",
        (
            "check.report",
            "check.header  check.indexes  check.memory  check.parts  check.trees",
            "check.content  check.protocol",
            "check.newest",
            "check.scan",
            "check",
        ),
    ),
    "repair": Room(
        "ground  log.format  log.file  log.reading  log.copies  objects.codec  upkeep  check",
        (
            "repair.bits  repair.report",
            "repair.source",
            "repair.parts",
            "repair.places",
            "repair.frames",
            "repair.listing  repair.salvage",
            "repair",
        ),
    ),
    "safe": Room(
        "ground  objects.values  objects.codec  collections  upkeep  doors",
        (
            "safe.ends  safe.groups  safe.growth",
            "safe.block  safe.reentry  safe.stored",
            "safe.mapping",
            "safe.opening",
            "safe",
        ),
    ),
    "opening": Room("ground  log  storages  storages.postgres  doors", ("uris", "opening")),
    "web": Room(
        "ground  objects.values  objects.faces  collections  store  blocks  indexes  doors  "
        "opening",
        (
            "web  web.body  web.ranges  web.request  web.root  web.uploads",
            "web.asgi  web.asgi_streams  web.pyramid  web.wsgi  web.wsgi_streams",
            "web.django  web.flask  web.starlette",
        ),
    ),
    "package": Room(
        "ground  log  collections  storages  doors  jobs  opening  safe",
        ("__init__",),
    ),
    "conformance": Room(
        "ground  doors  check",
        (
            "conformance.assertions",
            "conformance.steps",
            "conformance.harness",
            "conformance.commits  conformance.locks  conformance.model  conformance.news "
            "conformance.past  conformance.streams",
            "conformance.objects  conformance.packed  conformance.snapshots",
            "conformance",
        ),
    ),
    "testing": Room(
        "ground  log.format  log.file  log.reading  log.writing  log  log.copies  upkeep",
        (
            "testing.disk  testing.faults  testing.mutation  testing.steps",
            "testing.schedule",
            "testing.system",
            "testing.standins",
            "testing.model  testing.patching",
            "testing.instance",
            "testing.program",
            "testing.judge",
            "testing.simulation",
            "testing",
        ),
    ),
    "fixtures": Room(
        "ground  transactions  doors  package  collections",
        ("fixtures  fixtures.plugin  fixtures.strategies",),
    ),
    "exchange": Room(
        "ground  log.format  log.file  log.copies  objects.values  objects.deltas  objects.codec "
        "collections.btree  storages  store  search",
        (
            "exchange  exchange.json_values  exchange.json_reader  exchange.new_database "
            "exchange.source",
            "exchange.json_lines  exchange.sqlite  exchange.sqlite.tables",
            "exchange.foreign  exchange.foreign.kinds  exchange.foreign.mapping "
            "exchange.sqlite.rows",
            "exchange.foreign.pickles  exchange.foreign.trees  exchange.sqlite.mirror",
            "exchange.foreign.graph  exchange.foreign.shelf",
            "exchange.foreign.durus  exchange.foreign.zodb",
        ),
    ),
    "demo": Room(
        "ground  collections  doors  opening  check",
        (
            "demo  demo.parse",
            "demo.model",
            "demo.questions",
            "demo.display  demo.workers",
            "demo.run",
        ),
    ),
    "cli": Room(
        "ground  objects.values  objects.deltas  objects.faces  objects.codec  storages  store  "
        "history  search  upkeep  watch  doors  opening  check  repair  package  exchange  demo",
        (
            "cli.text",
            "cli.common  cli.values",
            "cli.care  cli.change  cli.differences  cli.play  cli.shell  cli.stored  cli.top",
            "cli.look  cli.outside  cli.outside.exchange  cli.outside.follow  cli.past",
            "cli.objects",
            "cli.outside.answers",
            "cli.outside.mcp",
            "cli",
        ),
    ),
    "browse": Room(
        "ground  log  objects.values  objects.deltas  objects.codec  storages  store  history "
        "watch  doors  cli",
        (
            "browse  browse.html  browse.guard  browse.moments",
            "browse.plots  browse.shown",
            "browse.scans",
            "browse.pages  browse.pages.ask",
            "browse.news  browse.pages.frame  browse.pages.live  browse.pages.sizes "
            "browse.pages.values",
            "browse.pages.objects",
            "browse.pages.past  browse.pages.search",
            "browse.pages.overview",
            "browse.app",
            "browse.server",
            "browse.command",
        ),
    ),
    "command": Room(
        "cli",
        ("__main__",),
    ),
}

UPWARD = {
    # Logs know some classes by the names of these modules; they are imported when one is met.
    "objects.codec.policy": "collections  indexes  jobs  persistent  safe",
    # A safe that is pickled is one to be opened again.
    "safe.mapping": "safe.opening",
    # The pages use what the other subcommands use; this one is imported when it is called.
    "cli": "browse.command",
}
"""Modules, and what they import by its name though it stands above them."""

OUTSIDE = {
    "transaction": "exc.base  blocks  history  transactions  store  database  web  safe "
    "cli.shell  browse.shown  fixtures.plugin  conformance  demo",
    "zope": "transactions",
    "portalocker": "log.file",
    # Seen by type checkers only, which bring it.
    "typing_extensions": "store  safe",
    # Python 3.14 has brought it.
    "annotationlib": "indexes.known",
    # Extras: the package must work without them.
    "click": "cli  browse.command",
    "mcp": "cli.outside.mcp",
    "psycopg": "storages.postgres",
    "rich": "cli  demo",
    # Who has one of these brings it.
    "django": "web.django",
    "flask": "web.flask",
    "pyramid": "web.pyramid",
    "starlette": "web.starlette  browse.app",
    "uvicorn": "browse.server",
    # For tests of programs, which bring them.
    "pytest": "fixtures.plugin",
    "hypothesis": "fixtures.strategies",
    # Whose files are read, for who has them.
    "ZODB": "exchange.foreign.zodb",
    "durus": "exchange.foreign.durus",
    # If it is there, the shell uses it.
    "IPython": "cli.shell",
}
"""A package outside the standard library, and the rooms or modules that may import it."""

REGISTRIES = {
    "objects.deltas.layered": "KINDS SHARED_TYPES",
    "objects.deltas.overlays": "KINDS",
    "objects.faces.base": "LAYERS TOPS",
    "objects.faces.broken": "TOPS",
}
"""Modules that fill a table of another module when they are imported: arrows that no import
shows. Each table stands below whoever fills it."""

MODULES_IN_A_FOLDER = 14

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
    room: str
    floor: int


PLACES = {
    module: Place(room, number)
    for room, (_, floors) in HOUSE.items()
    for number, floor in enumerate(floors)
    for module in floor.split()
}


class Import(NamedTuple):
    target: str
    """A name below the package, or that of a package outside."""

    line: int
    is_ours: bool = True


def is_allowed(module: str, found: Import) -> bool:
    here = PLACES[module]
    if not found.is_ours:
        return not {module, here.room}.isdisjoint(OUTSIDE.get(found.target, "").split())
    if found.target in UPWARD.get(module, "").split():
        return True
    there = PLACES.get(found.target)
    if there is None:
        return False
    if there.room == here.room:
        return there.floor < here.floor
    return there.room in HOUSE[here.room].stands_on.split()


# -- what a file imports ----------------------------------------------------


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Yield every import of *source*, the text of *module*, wherever it stands."""
    own = PACKAGE if module == "__init__" else f"{PACKAGE}.{module}"
    package = own if is_package or module == "__init__" else own.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        for name in names_imported(node, package):
            head, _, rest = name.partition(".")
            if head == PACKAGE:
                yield Import(rest or "__init__", node.lineno)
            elif head not in sys.stdlib_module_names:
                yield Import(head, node.lineno, is_ours=False)


def names_imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names of the modules that *node* imports, if it imports any."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=name, names=names, level=level):
            base = absolute("." * level + (name or ""), package)
            yield from sorted({member(base, alias.name) for alias in names})
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__" | "LateMethod")
            | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield absolute(name, package)
        case ast.AnnAssign(target=ast.Name(id="OWN_HOMES"), value=ast.Dict(values=homes)):
            yield from sorted({ast.literal_eval(home) for home in homes})
        case (
            ast.Assign(targets=[ast.Name(id="_HOMES")], value=ast.Dict() as homes)
            | ast.Call(func=ast.Name(id="late_names"), args=[_, ast.Dict() as homes])
        ):
            yield from late_homes(homes)


def late_homes(homes: ast.Dict) -> Iterator[str]:
    for name, home in zip(homes.keys, homes.values, strict=True):
        assert isinstance(name, ast.Constant)
        assert isinstance(home, ast.Constant)
        yield f"{PACKAGE}.{home.value or name.value}"


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


def tables_filled(source: str) -> set[str]:
    """Return the names from other modules of ours that a module changes when it is imported."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
        for alias in node.names
    }
    changed: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
            continue
        for node in ast.walk(statement):
            match node:
                case (
                    ast.Call(
                        func=ast.Attribute(
                            value=ast.Name(id=name),
                            attr="update"
                            | "add"
                            | "append"
                            | "setdefault"
                            | "extend"
                            | "register",
                        )
                    )
                    | ast.Subscript(value=ast.Name(id=name), ctx=ast.Store())
                ):
                    changed.add(name)
    return changed & imported


# -- the tests --------------------------------------------------------------


def test_the_table_names_every_module() -> None:
    assert sorted(set(FILES) - set(PLACES)) == []


def test_the_table_names_no_module_that_is_gone() -> None:
    named = {*PLACES, *UPWARD, *" ".join(UPWARD.values()).split()}

    assert sorted(named - set(FILES)) == []


def test_the_table_names_every_module_once() -> None:
    named = [
        module for _, floors in HOUSE.values() for floor in floors for module in floor.split()
    ]

    assert sorted(named) == sorted(PLACES)


def test_a_room_stands_on_rooms_written_before_it() -> None:
    rooms = list(HOUSE)
    for number, (room, (stands_on, _)) in enumerate(HOUSE.items()):
        assert set(stands_on.split()) <= set(rooms[:number]), room


def test_the_two_towers_know_nothing_of_each_other() -> None:
    for room, (stands_on, _) in HOUSE.items():
        if room.startswith("log"):
            assert not [name for name in stands_on.split() if name.startswith("objects")]
        if room.startswith(("objects", "collections")):
            assert not [name for name in stands_on.split() if name.startswith("log")]


def test_no_folder_has_more_modules_than_one_can_look_over() -> None:
    sizes = Counter(path.parent.relative_to(ROOT) for path in FILES.values())

    assert {
        str(folder): size for folder, size in sizes.items() if size > MODULES_IN_A_FOLDER
    } == {}


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    if module not in PLACES:
        pytest.fail(f"{module} stands on no floor of the house")
    path = FILES[module]

    forbidden = [
        f"{path.relative_to(ROOT.parent)}:{found.line}: {module} may not import {found.target}"
        for found in imports_of(
            path.read_text("utf-8"), module, is_package=path.name == "__init__.py"
        )
        if not is_allowed(module, found)
    ]

    assert forbidden == []


def test_only_the_modules_of_the_table_fill_registries() -> None:
    found = {module: tables_filled(path.read_text("utf-8")) for module, path in FILES.items()}

    assert {module: names for module, names in found.items() if names} == {
        module: set(names.split()) for module, names in REGISTRIES.items()
    }


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
        ("exc", "if TYPE_CHECKING:\n    import dobbin_like.database", ["database"]),
        ("log.file.lock", "from ...ids import Oid", ["ids"]),
        ("log.file.lock", "from .disk import sync", ["log.file.disk"]),
        ("log.file.lock", "from . import disk", ["log.file.disk"]),
        ("log.file.lock", "from .. import TransactionLog", ["log"]),
        ("log.file.lock", "from ... import database", ["database"]),
        ("log", "from .file.lock import Lock", ["log.file.lock"]),
        ("log", "from ..exc import Error", ["exc"]),
        ("__init__", "from .exc import Error", ["exc"]),
        ("__init__", "_HOMES = {'safe': '', 'Database': 'database'}", ["safe", "database"]),
        ("storage", "late_names(__name__, {'MemoryLog': 'storages.memory'})", ["storages.memory"]),
        ("ids", "def f():\n    from dobbin_like.nowhere import x", ["nowhere"]),
        ("ids", "OWN_HOMES: dict[str, str] = {'Error': 'dobbin_like.exc'}", ["exc"]),
        ("ids", "__import__('dobbin_like.nowhere')", ["nowhere"]),
        ("ids", "import os, json.decoder, click", ["click"]),
    ],
)
def test_every_form_of_import_is_seen(module: str, source: str, targets: list[str]) -> None:
    found = imports_of(source, module, is_package=module == "log")

    assert [entry.target for entry in found] == targets


def test_a_table_that_is_filled_is_seen() -> None:
    source = "from dobbin_like.ids import A, B, C\nA.update(x=1)\nB[1] = 2\nD.add(3)\n"

    assert tables_filled(source) == {"A", "B"}
