"""The persistent classes of the demo: plain classes, whose references form circles.

Everything that all workers write is in persistent collections, which merge changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from dobbin_like.collections import PersistentCounter, PersistentDict, PersistentSet
from dobbin_like.demo.parse import ClassFacts, FunctionFacts, ModuleFacts
from dobbin_like.persistent import Persistent, checkout

_V = TypeVar("_V")


class Library(Persistent):
    """The root: the list of files, and the indexes over the parsed ones.

    All workers write to the indexes. If two add the same new name at the same time, the second one
    runs its transaction again and finds the name.
    """

    def __init__(self, source: str, version: str, files: dict[str, str]) -> None:
        self.source = source
        self.version = version
        self.files = files
        # Create the objects that many will refer to before any worker begins.
        self.modules: PersistentDict[str, Module] = PersistentDict(
            {name: Module(name) for name in files}
        )
        self.classes: PersistentDict[str, Class] = PersistentDict()
        self.words: PersistentDict[str, PersistentSet[Module]] = PersistentDict()
        self.tally: Tally = Tally()

    @property
    def is_complete(self) -> bool:
        return bool(self.tally.files.value == len(self.files))

    def module(self, name: str) -> Module:
        return _get_or_add(self.modules, name, Module)

    def class_named(self, full_name: str) -> Class:
        return _get_or_add(self.classes, full_name, Class)

    def add_words(self, text: str, module: Module) -> None:
        """Add *module* to the index under the words of *text*."""
        for word in sorted(set(re.findall(r"[a-z]{3,}", text.lower()))):
            found = _get_or_add(self.words, word, lambda _: PersistentSet())
            checkout(found)
            found.add(module)


def _get_or_add(index: PersistentDict[str, _V], name: str, make: Callable[[str], _V]) -> _V:
    """Return what has that name; a new, empty one if the name is not known yet."""
    found = index.get(name)
    if found is None:
        # Check out an index only to change it: a checkout alone depends on all of it.
        checkout(index)
        found = index[name] = make(name)
    return found


class Module(Persistent):
    """A module. It is not parsed if it has only been imported so far, or has no source."""

    is_parsed: bool = False
    path = doc = error = ""
    line_count = 0
    imports: tuple[Module, ...] = ()
    members: tuple[Module, ...] = ()
    stars: tuple[Module, ...] = ()
    classes: tuple[Class, ...] = ()
    functions: tuple[Function, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Module {self.name}>"

    def fill(self, facts: ModuleFacts, library: Library) -> None:
        """Set the attributes from *facts*. Requires: the module is checked out."""
        self.is_parsed = True
        for name in ("path", "doc", "error", "line_count", "names"):
            setattr(self, name, getattr(facts, name))
        self.imports = tuple(map(library.module, facts.imports))
        self.members = tuple(map(library.module, facts.members))
        self.stars = tuple(map(library.module, facts.stars))
        self.functions = tuple(Function(item, self) for item in facts.functions)
        self.classes = tuple(self._class(item, library) for item in facts.classes)

    def _class(self, facts: ClassFacts, library: Library) -> Class:
        full_name = f"{self.name}.{facts.name}"
        cls = library.class_named(full_name)
        if cls.module is not None:  # A second definition, for other circumstances.
            cls = Class(full_name)
        checkout(cls)
        cls.fill(facts, self, library)
        return cls


class Class(Persistent):
    """A class. It has no module if it is only known as a base so far."""

    module: Module | None = None
    doc: str = ""
    line: int = 0
    line_count: int = 0
    bases: tuple[Class | str, ...] = ()
    methods: tuple[Function, ...] = ()

    def __init__(self, full_name: str) -> None:
        self.full_name = full_name

    def __repr__(self) -> str:
        return f"<Class {self.full_name}>"

    def fill(self, facts: ClassFacts, module: Module, library: Library) -> None:
        """Set the attributes from *facts*. Requires: the class is checked out."""
        self.module = module
        self.doc = facts.doc
        self.line = facts.line
        self.line_count = facts.line_count
        self.bases = tuple(
            base[1:] if base.startswith("?") else library.class_named(base) for base in facts.bases
        )
        self.methods = tuple(Function(item, self) for item in facts.methods)


class Function(Persistent):
    """A function of a module, or a method of a class."""

    name: str
    arguments: tuple[str, ...]

    def __init__(self, facts: FunctionFacts, owner: Module | Class) -> None:
        self.owner = owner
        for name, value in facts._asdict().items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"<Function {self.name}({', '.join(self.arguments)})>"


class Tally(Persistent):
    """Totals. Every transaction of every worker adds to them, without waiting."""

    def __init__(self) -> None:
        self.files: PersistentCounter = PersistentCounter()
        self.lines: PersistentCounter = PersistentCounter()
        self.classes: PersistentCounter = PersistentCounter()
        self.functions: PersistentCounter = PersistentCounter()

    def add(self, facts: ModuleFacts) -> None:
        checkout(self.files, self.lines, self.classes, self.functions)
        self.files.increment()
        self.lines.increment(facts.line_count)
        self.classes.increment(len(facts.classes))
        methods = sum(len(cls.methods) for cls in facts.classes)
        self.functions.increment(len(facts.functions) + methods)
