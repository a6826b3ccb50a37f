"""Queries on the finished graph, answered by following references.

Only reads. Follows imported names, also through several modules, to their definitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dobbin_like.demo.model import Class, Library, Module
from dobbin_like.demo.parse import BUILTINS


class Questions:
    """The queries on one library, in one transaction."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._resolved: dict[str, Class | None] = {}

    def most_imported(self, limit: int) -> list[tuple[Module, int]]:
        """Return the modules that the most modules import, and how many do."""
        count: Counter[str] = Counter()
        for module in self._modules():
            imported = {each.name for each in module.imports}
            count.update(imported | set(map(self._member, module.members)))
        return [(self._library.modules[name], number) for name, number in _top(count, limit)]

    def _member(self, member: Module) -> str:
        """Return the name of *member*, or of its package if the package hides the module.

        ``from unittest import main`` is the function of that name, not the module
        ``unittest.main``; the importing file can't tell them apart.
        """
        name: str = member.name
        package, _, last = name.rpartition(".")
        outer = self._library.modules.get(package)
        if outer is not None and outer.names.get(last, name) != name:
            return package
        return name

    def largest_classes(self, limit: int) -> list[Class]:
        ranked = sorted(self.classes(), key=lambda cls: (-cls.line_count, cls.full_name))
        return ranked[:limit]

    def most_derived_from(self, limit: int) -> list[tuple[Class, int]]:
        """Return the classes with the most direct subclasses, and how many; not ``object``."""
        names = {base: len(found) for base, found in self._subclasses().items()}
        names.pop(f"{BUILTINS}.object", None)
        return [(self._library.classes[name], number) for name, number in _top(names, limit)]

    def about(self, word: str) -> list[Module]:
        found = self._library.words.get(word.lower()) or ()
        return sorted(found, key=lambda module: module.name)

    def find(self, name: str) -> list[Class]:
        """Return the classes that *name* may mean: as written, built in, or anywhere."""
        exact = self._resolve(name) or self._resolve(f"{BUILTINS}.{name}")
        if exact is not None:
            return [exact]
        found = {c.full_name: c for c in self.classes() if c.full_name.endswith(f".{name}")}
        return [found[full_name] for full_name in sorted(found)]

    def subclasses_of(self, cls: Class) -> list[tuple[Class, int]]:
        """Return all classes that derive from *cls*, each below its base, and their depths."""
        children = self._subclasses()
        found: dict[str, tuple[Class, int]] = {}
        waiting = [(cls, 0)]
        while waiting:
            derived, depth = waiting.pop()
            if derived.full_name not in found:
                found[derived.full_name] = derived, depth
                below = reversed(children.get(derived.full_name, ()))
                waiting += [(child, depth + 1) for child in below]
        return list(found.values())[1:]

    def classes(self) -> Iterator[Class]:
        for module in self._modules():
            yield from module.classes

    def _modules(self) -> Iterator[Module]:
        return (module for module in self._library.modules.values() if module.is_parsed)

    def _subclasses(self) -> dict[str, list[Class]]:
        """Return the direct subclasses of every class that has any, by its full name."""
        children: dict[str, dict[str, Class]] = {}
        for cls in self.classes():
            for base in cls.bases:
                real = None if isinstance(base, str) else self._resolve(base.full_name)
                if real is not None:
                    children.setdefault(real.full_name, {})[cls.full_name] = cls
        return {base: [found[name] for name in sorted(found)] for base, found in children.items()}

    def _resolve(self, full_name: str) -> Class | None:
        """Return the class that is defined under *full_name* or imported there."""
        if full_name not in self._resolved:
            self._resolved[full_name] = None  # For now: imports may form circles.
            self._resolved[full_name] = self._look_up(full_name)
        return self._resolved[full_name]

    def _look_up(self, full_name: str) -> Class | None:
        cls = self._library.classes.get(full_name)
        if cls is not None and cls.module is not None:
            return cls
        module, rest = self._split(full_name)
        if module is None:
            return None
        head, dot, tail = rest.partition(".")
        meaning = module.names.get(head)
        if meaning is not None:
            return self._resolve(meaning + dot + tail)
        found = (self._resolve(f"{star.name}.{rest}") for star in module.stars)
        return next((cls for cls in found if cls is not None), None)

    def _split(self, full_name: str) -> tuple[Module | None, str]:
        """Return the longest part of *full_name* that is a parsed module, and the rest."""
        head = full_name
        while "." in head:
            head = head.rpartition(".")[0]
            module = self._library.modules.get(head)
            if module is not None and module.is_parsed:
                return module, full_name[len(head) + 1 :]
        return None, full_name


def _top(numbers: dict[str, int], limit: int) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def inconsistencies(library: Library) -> Iterator[str]:
    """Yield the errors of the graph; there are none, however many workers wrote it."""
    modules = [module for module in library.modules.values() if module.is_parsed]
    stored, listed = {module.name for module in modules}, set(library.files)
    for name in sorted(stored ^ listed):
        yield f"module {name} is {'missing' if name in listed else 'not in the list of files'}"
    classes = [cls for module in modules for cls in module.classes]
    functions = sum(len(module.functions) for module in modules)
    counted = {
        "files": len(modules),
        "lines": sum(module.line_count for module in modules),
        "classes": len(classes),
        "functions": functions + sum(len(cls.methods) for cls in classes),
    }
    for name, number in counted.items():
        tallied = getattr(library.tally, name).value
        if tallied != number:
            yield f"{tallied} {name} were counted, {number} are stored"
    for owner in [*modules, *classes]:
        for function in getattr(owner, "methods", ()) or getattr(owner, "functions", ()):
            if function.owner is not owner:
                yield f"function {function.name} does not lead back to its owner"
