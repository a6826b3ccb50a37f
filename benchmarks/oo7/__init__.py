"""OO7, the benchmark of object databases: its small database and four of its operations.

After Carey, DeWitt and Naughton (1993). A module is a tree of assemblies of seven levels, each
of which but the lowest has three below it. A base assembly, which is one of the lowest, uses
three of 500 composite parts. A composite part has a document and a graph of 20 atomic parts, each
connected with three others. Every one of these, also a connection, is a persistent object: some
42,000. The indexes of the original are left out.

The classes here know no store. :func:`schema` makes persistent ones of them: :mod:`.ours` and
:mod:`.zodb` have those, and a ``Store(path)`` with ``set_root(module)``, ``module()``,
``begin()``, ``commit()`` and ``close()``. :mod:`.plain` has a module in memory.
"""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = 7
ASSEMBLIES = 3
"""Below each complex assembly."""

COMPONENTS = 3
"""Of each base assembly."""

COMPOSITES = 500
ATOMS = 20
CONNECTIONS = 3
INSERTED = 5
INSERTED_INTO = 10

VISITED = ASSEMBLIES ** (LEVELS - 1) * COMPONENTS * ATOMS
"""Atomic parts that a traversal meets: 43,740."""


class DesignObject:
    """What most have."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind = f"type{number % 10:03d}"
        self.build_date = 1000 + number % 1000


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


def schema(base: type, module_name: str, change: Callable[[Any], None]) -> SimpleNamespace:
    """Return persistent classes, as classes of the module of that name; and *change*.

    That is called with what is about to be changed.
    """
    made = SimpleNamespace(change=change)
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
    return module


def traverse(module: Module, visit: Callable[[AtomicPart], None]) -> int:
    """Visit the atomic parts of each composite part of each base assembly, depth first.

    With a *visit* that does nothing, this is T1. With one that swaps x and y, it is T2b.
    Return how many were visited: :data:`VISITED`.
    """
    return _assembly(module.design_root, 1, visit)


def _assembly(assembly: Any, level: int, visit: Callable[[AtomicPart], None]) -> int:
    if level < LEVELS:
        return sum([_assembly(each, level + 1, visit) for each in assembly.below])
    return sum([_atoms(part.root_part, set(), visit) for part in assembly.components])


def _atoms(part: AtomicPart, seen: set[int], visit: Callable[[AtomicPart], None]) -> int:
    seen.add(part.number)
    visit(part)
    count = 1
    for connection in part.to:
        to = connection.to
        if to.number not in seen:
            count += _atoms(to, seen, visit)
    return count


def insert(module: Module, classes: SimpleNamespace, turn: int) -> None:
    """Make five composite parts, and let ten base assemblies use one of them each."""
    generator = random.Random(turn)
    first = COMPOSITES + INSERTED * turn
    made = [classes.CompositePart(first + index, classes, generator) for index in range(INSERTED)]
    for index, assembly in enumerate(generator.sample(list(module.bases), INSERTED_INTO)):
        part = made[index % INSERTED]
        classes.change(assembly)
        assembly.components = [*assembly.components, part]
        part.used_in.append(assembly)
