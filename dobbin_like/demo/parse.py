"""From a source file to facts: plain values that know nothing of the graph.

Names are resolved as far as the file itself allows; what they stand for is found out when the
graph is queried.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

SKIPPED: Final = frozenset({"__pycache__", "idle_test", "site-packages", "test", "tests"})
"""Directories that do not belong to the library proper."""

BUILTINS: Final = "builtins"
"""The module without a file: its facts come from inspecting it."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class FunctionFacts(NamedTuple):
    """A function or method."""

    name: str
    line: int
    line_count: int
    arguments: tuple[str, ...]
    is_async: bool


class ClassFacts(NamedTuple):
    """A class; a base is a full dotted name, or ``?`` and the source text."""

    name: str
    line: int
    line_count: int
    doc: str
    bases: tuple[str, ...]
    methods: tuple[FunctionFacts, ...]


@dataclass(slots=True)
class ModuleFacts:
    """The facts of a file that the graph keeps.

    ``imports`` are modules; ``members`` were imported from packages that have a module of
    that name, and may define something else under it; ``names`` has the meaning of each
    imported name, ``stars`` the modules from which everything is imported, ``error`` the
    reason if there are no facts.
    """

    name: str
    path: str
    line_count: int = 0
    doc: str = ""
    imports: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    classes: list[ClassFacts] = field(default_factory=list)
    functions: list[FunctionFacts] = field(default_factory=list)
    error: str = ""


def source_files(source: Path) -> dict[str, str]:
    """Return the files below *source*, relative to it, by the names of their modules, in order."""
    files = {}
    for path in sorted(source.rglob("*.py")):
        inner = path.relative_to(source)
        parts = inner.with_suffix("").parts
        if SKIPPED.isdisjoint(parts[:-1]) and all(part.isidentifier() for part in parts):
            if parts[-1] == "__init__" and len(parts) > 1:
                parts = parts[:-1]
            files[".".join(parts)] = str(inner)
    return files


def parse(source: Path, name: str, path: str, known: Collection[str]) -> ModuleFacts:
    """Return the facts of the module *name*; a file that is not Python has an ``error``.

    *path* is relative to *source*; empty for the module that has no file. *known* are the names
    of all modules, which ``from package import module`` may import.
    """
    facts = ModuleFacts(name, path)
    if name == BUILTINS and not path:
        _inspect_builtins(facts)
        return facts
    try:
        data = (source / path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Old files use deprecated syntax.
            tree = ast.parse(data)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        facts.error = f"{type(error).__name__}: {error}"
        return facts
    facts.line_count = len(data.splitlines())
    facts.doc = _first_line(ast.get_docstring(tree))
    _read_imports(facts, tree, known)
    members = list(_members(tree, ""))
    own = {member for member, node in members if isinstance(node, ast.ClassDef)}
    for member, node in members:
        if isinstance(node, ast.ClassDef):
            bases = tuple(_base(facts, own, base) for base in node.bases)
            methods = tuple(_function(item) for item in node.body if isinstance(item, _Function))
            doc = _first_line(ast.get_docstring(node))
            place = node.lineno, _line_count(node)
            facts.classes.append(ClassFacts(member, *place, doc, bases, methods))
        elif "." not in member:
            facts.functions.append(_function(node))
    return facts


def _read_imports(facts: ModuleFacts, tree: ast.Module, known: Collection[str]) -> None:
    is_package = Path(facts.path).stem == "__init__"
    package = facts.name if is_package else facts.name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                facts.imports.append(alias.name)
                top = alias.name.partition(".")[0]
                facts.names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and (base := _absolute(node, package)):
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in known:
                    facts.members.append(inner)
                else:
                    facts.imports.append(base)
                if alias.name == "*":
                    facts.stars.append(base)
                else:
                    facts.names[alias.asname or alias.name] = inner
    facts.imports = list(dict.fromkeys(facts.imports))
    facts.members = list(dict.fromkeys(facts.members))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of the module that is imported from; empty if there is none."""
    parts: list[str] = []
    if node.level and package:
        parts = package.split(".")
        parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)


def _base(facts: ModuleFacts, own: set[str], node: ast.expr) -> str:
    """Return the full name of a base, or ``?`` and the source text."""
    if isinstance(node, ast.Subscript):  # Mapping[str, int] derives from Mapping
        return _base(facts, own, node.value)
    written = ast.unparse(node)
    head, dot, rest = written.partition(".")
    if not all(part.isidentifier() for part in written.split(".")):
        return f"?{written:.60}"
    if written not in own:
        if head in facts.names:
            return facts.names[head] + dot + rest
        if isinstance(getattr(builtins, written, None), type):
            return f"{BUILTINS}.{written}"
    # A class of this module; or a name from a star import, an assignment or a function, which
    # the graph may know.
    return f"{facts.name}.{written}"


def _members(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef | _Function]]:
    """Yield classes and functions with their dotted names, but none that are inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _members(node, f"{prefix}{node.name}.")
        elif isinstance(node, _Function):
            yield prefix + node.name, node
        elif isinstance(node, (ast.stmt, ast.ExceptHandler)):  # Such as the body of an ``if``.
            yield from _members(node, prefix)


def _function(node: _Function) -> FunctionFacts:
    given = node.args
    names = [arg.arg for arg in (*given.posonlyargs, *given.args)]
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    names += [arg.arg for arg in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    is_async = isinstance(node, ast.AsyncFunctionDef)
    return FunctionFacts(node.name, node.lineno, _line_count(node), tuple(names), is_async)


def _line_count(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0].strip()[:200]


def _inspect_builtins(facts: ModuleFacts) -> None:
    facts.doc = _first_line(builtins.__doc__)
    for name, cls in sorted(vars(builtins).items()):
        if isinstance(cls, type) and cls.__module__ == BUILTINS and cls.__name__ == name:
            bases = tuple(f"{BUILTINS}.{base.__name__}" for base in cls.__bases__)
            facts.classes.append(ClassFacts(name, 0, 0, _first_line(cls.__doc__), bases, ()))
