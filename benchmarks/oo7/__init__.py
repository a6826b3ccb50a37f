"""OO7, the benchmark of object databases: its small database.

After Carey, DeWitt and Naughton (1993). A module is a tree of assemblies of seven levels, each
of which but the lowest has three below it. A base assembly, which is one of the lowest, uses
three of 500 composite parts. A composite part has a document and a graph of 20 atomic parts, each
connected with three others. Every one of these, also a connection, is a persistent object: some
42,000. Atomic parts are indexed by number and by build date, documents by title and by number,
each in a tree of the store. :mod:`.operations` has what is done, :mod:`.integrity` what must be
true before and after.

The classes here know no store. :func:`schema` makes persistent ones of them: :mod:`.ours` and
:mod:`.zodb` have those, and a ``Store(path)`` with ``set_root(module)``, ``module()``,
``begin()``, ``commit()`` and ``close()``. :mod:`.plain` has a module in memory.
"""

from __future__ import annotations

import itertools
import os
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

IS_TINY = os.environ.get("OO7_SIZE") == "tiny"
"""Only whether it works is asked."""

LEVELS = 4 if IS_TINY else 7
ASSEMBLIES = 3
"""Below each complex assembly."""

COMPONENTS = 3
"""Of each base assembly."""

COMPOSITES = 100 if IS_TINY else 500
ATOMS = 20
CONNECTIONS = 3
DATES = 1000
"""Build dates are 1000 to 1999, evenly; those of assemblies and of parts are not in step."""

PARTS = COMPOSITES * ATOMS

VISITED = ASSEMBLIES ** (LEVELS - 1) * COMPONENTS * ATOMS
"""Atomic parts that a traversal meets: 43,740."""


class DesignObject:
    """What most have."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind = f"type{number % 10:03d}"
        self.build_date = 1000 + number * 7919 % DATES


class AtomicPart(DesignObject):
    """One of a composite part; leads to others by connections."""

    def __init__(self, number: int, part_of: CompositePart) -> None:
        super().__init__(number)
        self.x = number % 100_000
        self.y = number * 7 % 100_000
        self.document_number = part_of.number
        self.part_of = part_of
        self.to: list[Connection] = []
        self.from_: list[Connection] = []


class Connection:
    """Leads from one atomic part to another."""

    def __init__(self, from_: AtomicPart, to: AtomicPart, length: int) -> None:
        self.kind = f"type{length % 10:03d}"
        self.length = length
        self.from_ = from_
        self.to = to
        from_.to.append(self)
        to.from_.append(self)


class Document:
    """A text about a composite part."""

    def __init__(self, number: int, part: CompositePart) -> None:
        self.title = f"Composite Part {number:08d}"
        self.number = number
        self.text = _text(f"I am the documentation for composite part {number:08d}. ", 2000)
        self.part = part


class Manual:
    """A long text about a module."""

    def __init__(self, module: Module) -> None:
        self.title = "Manual for module"
        self.text = _text("I am the manual of the module. ", 100_000)
        self.module = module


class CompositePart(DesignObject):
    """A graph of atomic parts."""

    def __init__(self, number: int, classes: SimpleNamespace, generator: random.Random) -> None:
        super().__init__(number)
        self.document = classes.Document(number, self)
        self.used_in: list[BaseAssembly] = []
        self.parts = [classes.AtomicPart(number * ATOMS + index, self) for index in range(ATOMS)]
        self.root_part = self.parts[0]
        for index, part in enumerate(self.parts):
            # The first connections make a ring: all are reached from each.
            to = [self.parts[(index + 1) % ATOMS]]
            to += [generator.choice(self.parts) for _ in range(CONNECTIONS - 1)]
            for other in to:
                classes.Connection(part, other, generator.randrange(1000))


class Assembly(DesignObject):
    """A node of the tree."""

    def __init__(self, number: int, above: ComplexAssembly | None, module: Module) -> None:
        super().__init__(number)
        self.above = above
        self.module = module


class ComplexAssembly(Assembly):
    """One that has others below."""

    def __init__(self, number: int, above: ComplexAssembly | None, module: Module) -> None:
        super().__init__(number, above, module)
        self.below: list[Assembly] = []


class BaseAssembly(Assembly):
    """One that uses composite parts."""

    def __init__(self, number: int, above: ComplexAssembly | None, module: Module) -> None:
        super().__init__(number, above, module)
        self.components: list[CompositePart] = []


class Module(DesignObject):
    """The whole."""

    def __init__(self, number: int, classes: SimpleNamespace) -> None:
        super().__init__(number)
        self.manual = classes.Manual(self)
        self.bases: list[BaseAssembly] = []
        self.design_root = classes.ComplexAssembly(0, None, self)
        self.parts_by_number = classes.Tree()
        self.parts_by_date = classes.Tree()
        self.documents_by_title = classes.Tree()
        self.documents_by_number = classes.Tree()

    def put(self, part: CompositePart) -> None:
        """Index the parts and the document of a composite part. The trees may be changed."""
        document = part.document
        self.documents_by_title[document.title] = document
        self.documents_by_number[document.number] = document
        for atom in part.parts:
            self.parts_by_number[atom.number] = atom
            self.parts_by_date[atom.build_date, atom.number] = atom

    def take_out(self, part: CompositePart) -> None:
        """Undo what ``put()`` does."""
        del self.documents_by_title[part.document.title]
        del self.documents_by_number[part.document.number]
        for atom in part.parts:
            del self.parts_by_number[atom.number]
            del self.parts_by_date[atom.build_date, atom.number]

    def trees(self) -> tuple[Any, ...]:
        return (
            self.parts_by_number,
            self.parts_by_date,
            self.documents_by_title,
            self.documents_by_number,
        )


_CONCRETE = (
    AtomicPart,
    Connection,
    Document,
    Manual,
    CompositePart,
    ComplexAssembly,
    BaseAssembly,
    Module,
)


def _text(line: str, size: int) -> str:
    return (line * (size // len(line) + 1))[:size]


def schema(
    base: type, tree: type, module_name: str, change: Callable[..., None]
) -> SimpleNamespace:
    """Return persistent classes, as classes of the module of that name; and *change*.

    That is called with what is about to be changed. A *tree* is a mapping in the order of its
    keys, whose ``values(min, max)`` are those between two keys.
    """
    made = SimpleNamespace(change=change, Tree=tree)
    for plain in _CONCRETE:
        name = plain.__name__
        setattr(made, name, type(base)(name, (plain, base), {"__module__": module_name}))
    return made


def build(classes: SimpleNamespace) -> Module:
    """Return a module with all that it consists of."""
    generator = random.Random(7)
    module: Module = classes.Module(1, classes)
    parts = [classes.CompositePart(number, classes, generator) for number in range(COMPOSITES)]
    numbers = itertools.count(1)

    def fill(assembly: ComplexAssembly, level: int) -> None:
        cls = classes.BaseAssembly if level == LEVELS else classes.ComplexAssembly
        for _ in range(ASSEMBLIES):
            made = cls(next(numbers), assembly, module)
            assembly.below.append(made)
            if level < LEVELS:
                fill(made, level + 1)
                continue
            module.bases.append(made)
            for part in generator.choices(parts, k=COMPONENTS):
                made.components.append(part)
                part.used_in.append(made)

    fill(module.design_root, 2)
    classes.change(*module.trees())
    for part in parts:
        module.put(part)
    return module
