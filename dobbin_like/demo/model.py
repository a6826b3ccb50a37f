"""The persistent classes of the demo: what the file holds.

Plain Python classes with plain attributes. References between modules,
classes and functions are ordinary attributes and lead in circles; nothing
here knows of files, processes or transactions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from dobbin_like.exc import ConflictError
from dobbin_like.persistent import Persistent, checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.demo.parse import ClassFacts, FunctionFacts, ModuleFacts

_BUCKETS: Final = 128
"""Parts of an index: so many that two workers seldom need the same one."""


class Library(Persistent):
    """The root: what is to be parsed, and the indexes over what was."""

    def __init__(self, source: str, version: str, files: dict[str, str]) -> None:
        self.source = source
        self.version = version
        self.files = files
        self.modules = Index()
        self.classes = Index()
        self.words = WordIndex()
        self.tally = Tally()

    @property
    def is_complete(self) -> bool:
        """Whether every file is in the graph."""
        return self.tally.files == len(self.files)

    def module(self, name: str) -> Module:
        """Return the module *name*; a new, empty one if nobody has met the name yet."""
        module: Module | None = self.modules.get(name)
        if module is None:
            module = Module(name)
            self.modules.put(name, module)
        return module

    def class_named(self, full_name: str) -> Class:
        """Return the class with that name; a new, empty one if nobody has met it yet."""
        cls: Class | None = self.classes.get(full_name)
        if cls is None:
            cls = Class(full_name)
            self.classes.put(full_name, cls)
        return cls


class Module(Persistent):
    """A module. One that was only imported so far, or has no source, is not parsed."""

    is_parsed = False
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
        """Take over *facts*. Requires: the module is checked out."""
        self.is_parsed = True
        self.path = facts.path
        self.doc = facts.doc
        self.error = facts.error
        self.line_count = facts.line_count
        self.names = facts.names
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
    """A class. One that is only known as a base so far has no module."""

    module: Module | None = None
    doc = ""
    line = line_count = 0
    bases: tuple[Class | str, ...] = ()
    methods: tuple[Function, ...] = ()

    def __init__(self, full_name: str) -> None:
        self.full_name = full_name

    def __repr__(self) -> str:
        return f"<Class {self.full_name}>"

    def fill(self, facts: ClassFacts, module: Module, library: Library) -> None:
        """Take over *facts*. Requires: the class is checked out."""
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

    def __init__(self, facts: FunctionFacts, owner: Module | Class) -> None:
        self.name = facts.name
        self.owner = owner
        self.line = facts.line
        self.line_count = facts.line_count
        self.arguments = facts.arguments
        self.is_async = facts.is_async

    def __repr__(self) -> str:
        return f"<Function {self.name}({', '.join(self.arguments)})>"


class Index(Persistent):
    """Names to objects, in parts: whoever adds a name checks out one part only."""

    def __init__(self) -> None:
        self.buckets = tuple(self._new_bucket() for _ in range(_BUCKETS))

    def _new_bucket(self) -> Bucket:
        return Bucket()

    def bucket(self, key: str) -> Bucket:
        """Return the part for *key*: the same one in every process, as hash() is not."""
        return self.buckets[crc32(key.encode()) % len(self.buckets)]

    def get(self, key: str) -> Any:
        """Return what is under *key*, or ``None``."""
        return self.bucket(key).entries.get(key)

    def put(self, key: str, value: Persistent) -> None:
        """Put *value* under *key*."""
        bucket = self.bucket(key)
        checkout(bucket)
        bucket.entries[key] = value

    def values(self) -> Iterator[Any]:
        """Yield all values, in no order."""
        for bucket in self.buckets:
            yield from bucket.entries.values()


class Bucket(Persistent):
    """A part of an index. Two transactions that change it are in conflict: one runs again."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}


class WordIndex(Index):
    """Words to the modules whose docstrings have them."""

    def _new_bucket(self) -> Bucket:
        return WordBucket()

    def add(self, text: str, module: Module) -> None:
        """Let *module* be found by the words of *text*."""
        for word in sorted(set(re.findall(r"[a-z]{3,}", text.lower()))):
            bucket = self.bucket(word)
            checkout(bucket)
            bucket.entries[word] = (*bucket.entries.get(word, ()), module)


class WordBucket(Bucket):
    """A part of the word index. Two transactions that add to it are merged."""

    @staticmethod
    def _p_resolve_conflict(
        old_state: dict[str, Any], saved_state: dict[str, Any], new_state: dict[str, Any]
    ) -> dict[str, Any]:
        old, merged = old_state["entries"], saved_state["entries"]
        for word, modules in new_state["entries"].items():
            before = len(old.get(word, ()))
            merged[word] = (*merged.get(word, ()), *modules[before:])
        return {"entries": merged}


class Tally(Persistent):
    """How much there is: every transaction of every worker adds to it, and none waits."""

    def __init__(self) -> None:
        self.files = 0
        self.lines = 0
        self.classes = 0
        self.functions = 0

    def add(self, facts: ModuleFacts) -> None:
        """Count one file. Requires: the tally is checked out."""
        self.files += 1
        self.lines += facts.line_count
        self.classes += len(facts.classes)
        self.functions += len(facts.functions) + sum(len(cls.methods) for cls in facts.classes)

    @staticmethod
    def _p_resolve_conflict(
        old_state: dict[str, Any], saved_state: dict[str, Any], new_state: dict[str, Any]
    ) -> dict[str, Any]:
        if old_state.keys() != new_state.keys():
            raise ConflictError
        return {name: saved_state[name] + new_state[name] - old for name, old in old_state.items()}
