"""What OO7 does: traversals, queries and structural modifications.

All take a module, and the classes of a store; they return a number that tells whether all was met.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from benchmarks.oo7 import (
    ASSEMBLIES,
    ATOMS,
    COMPONENTS,
    COMPOSITES,
    DATES,
    LEVELS,
    PARTS,
    AtomicPart,
    BaseAssembly,
    CompositePart,
    Module,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

BASES = ASSEMBLIES ** (LEVELS - 1)
VISITED = BASES * COMPONENTS * ATOMS
"""Atomic parts that a traversal meets: 43,740."""

INSERTED = 5
INSERTED_INTO = 10
LOOKUPS = 10
TITLES = 100

# -- traversals ---------------------------------------------------------------------------


def traverse(module: Module, visit: Callable[[AtomicPart], None]) -> int:
    """Visit the atomic parts of each composite part of each base assembly, depth first.

    With a *visit* that does nothing, this is T1. With one that changes x and y, it is T2b.
    Return how many were visited: :data:`VISITED`.
    """
    return _assembly(module.design_root, 1, lambda part: _atoms(part.root_part, set(), visit))


def _assembly(assembly: Any, level: int, at_part: Callable[[CompositePart], int]) -> int:
    if level < LEVELS:
        return sum([_assembly(each, level + 1, at_part) for each in assembly.below])
    return sum([at_part(part) for part in assembly.components])


def _atoms(part: AtomicPart, seen: set[int], visit: Callable[[AtomicPart], None]) -> int:
    seen.add(part.number)
    visit(part)
    count = 1
    for connection in part.to:
        to = connection.to
        if to.number not in seen:
            count += _atoms(to, seen, visit)
    return count


def _nothing(_part: AtomicPart) -> None:
    pass


def t1(module: Module, _classes: SimpleNamespace) -> int:
    """Visit all."""
    return traverse(module, _nothing)


def _swap(classes: SimpleNamespace, times: int) -> Callable[[AtomicPart], None]:
    # One is added, which the original does not: a part that is met twice, or swapped four times,
    # would be as before. This package does not write what is as before, and others do.
    change = classes.change

    def visit(part: AtomicPart) -> None:
        for _ in range(times):
            change(part)
            part.x, part.y = part.y + 1, part.x

    return visit


def _age(module: Module, classes: SimpleNamespace, times: int) -> Callable[[AtomicPart], None]:
    dates = module.parts_by_date
    classes.change(*module.trees())

    def visit(part: AtomicPart) -> None:
        for _ in range(times):
            classes.change(part)
            del dates[part.build_date, part.number]
            part.build_date = 1000 + (part.build_date - 999) % DATES  # Never as before, either.
            dates[part.build_date, part.number] = part

    return visit


def _first_only(module: Module, visit: Callable[[AtomicPart], None]) -> int:
    def at_part(part: CompositePart) -> int:
        visit(part.root_part)
        return 1

    return _assembly(module.design_root, 1, at_part)


def t2a(module: Module, classes: SimpleNamespace) -> int:
    """Swap x and y, one greater, of one atomic part of each composite part."""
    return _first_only(module, _swap(classes, 1))


def t2b(module: Module, classes: SimpleNamespace) -> int:
    """Swap those of each atomic part."""
    return traverse(module, _swap(classes, 1))


def t2c(module: Module, classes: SimpleNamespace) -> int:
    """Swap those of each atomic part, four times."""
    return traverse(module, _swap(classes, 4))


def t3a(module: Module, classes: SimpleNamespace) -> int:
    """As T2a, of the build date, which is indexed."""
    return _first_only(module, _age(module, classes, 1))


def t3b(module: Module, classes: SimpleNamespace) -> int:
    """As T2b, of the build date."""
    return traverse(module, _age(module, classes, 1))


def t3c(module: Module, classes: SimpleNamespace) -> int:
    """As T2c, of the build date."""
    return traverse(module, _age(module, classes, 4))


def t6(module: Module, _classes: SimpleNamespace) -> int:
    """Visit one atomic part of each composite part."""
    return _first_only(module, _nothing)


def t8(module: Module, _classes: SimpleNamespace) -> int:
    """Count a character in the manual."""
    return module.manual.text.count("I")


def t9(module: Module, _classes: SimpleNamespace) -> int:
    """Compare the first and the last character of the manual."""
    text = module.manual.text
    return int(text[0] == text[-1])


# -- queries ------------------------------------------------------------------------------


def q1(module: Module, _classes: SimpleNamespace) -> int:
    """Look up ten random atomic parts by their numbers, and read them."""
    numbers = random.Random(1).sample(range(PARTS), LOOKUPS)
    return sum([module.parts_by_number[number].x >= 0 for number in numbers])


def _newest(module: Module, percent: int) -> int:
    first = 1000 + DATES * (100 - percent) // 100
    found = module.parts_by_date.values(min=(first, 0), max=(1000 + DATES, 0))
    return sum([part.x >= 0 for part in found])


def q2(module: Module, _classes: SimpleNamespace) -> int:
    """Read the newest hundredth of the atomic parts."""
    return _newest(module, 1)


def q3(module: Module, _classes: SimpleNamespace) -> int:
    """Read the newest tenth."""
    return _newest(module, 10)


def q4(module: Module, _classes: SimpleNamespace) -> int:
    """Look up a hundred documents by title, and the base assemblies that use their parts."""
    numbers = random.Random(4).sample(range(COMPOSITES), TITLES)
    documents = [module.documents_by_title[f"Composite Part {n:08d}"] for n in numbers]
    return sum([base.number > 0 for document in documents for base in document.part.used_in])


def q5(module: Module, _classes: SimpleNamespace) -> int:
    """Count base assemblies that use a composite part which is newer than they are."""
    return sum([_uses_newer(base) for base in module.bases])


def _uses_newer(base: BaseAssembly) -> bool:
    date = base.build_date
    return any(part.build_date > date for part in base.components)


def q6(module: Module, _classes: SimpleNamespace) -> int:
    """Count assemblies that use a newer part, or are above one that does."""
    return _newer_below(module.design_root, 1)[0]


def _newer_below(assembly: Any, level: int) -> tuple[int, bool]:
    if level == LEVELS:
        uses = _uses_newer(assembly)
        return int(uses), uses
    below = [_newer_below(each, level + 1) for each in assembly.below]
    uses = any(found for _, found in below)
    return sum([count for count, _ in below]) + uses, uses


def q7(module: Module, _classes: SimpleNamespace) -> int:
    """Read all atomic parts, by the index of their numbers."""
    return sum([part.x >= 0 for part in module.parts_by_number.values()])


def q8(module: Module, _classes: SimpleNamespace) -> int:
    """Join all atomic parts with their documents, by number."""
    documents = module.documents_by_number
    return sum(
        [
            documents[part.document_number].number == part.document_number
            for part in module.parts_by_number.values()
        ]
    )


# -- structural modifications --------------------------------------------------------------


def insert(module: Module, classes: SimpleNamespace, turn: int = 0) -> int:
    """Make five composite parts, and let ten base assemblies use one of them each."""
    generator = random.Random(turn)
    first = COMPOSITES + INSERTED * turn
    made = [classes.CompositePart(first + index, classes, generator) for index in range(INSERTED)]
    for index, assembly in enumerate(generator.sample(list(module.bases), INSERTED_INTO)):
        part = made[index % INSERTED]
        classes.change(assembly)
        assembly.components = [*assembly.components, part]
        part.used_in.append(assembly)
    classes.change(*module.trees())
    for part in made:
        module.put(part)
    return len(made)


def delete(module: Module, classes: SimpleNamespace, turn: int = 0) -> int:
    """Take them away again."""
    classes.change(*module.trees())
    first = COMPOSITES + INSERTED * turn
    for number in range(first, first + INSERTED):
        part = module.documents_by_number[number].part
        for assembly in part.used_in:
            classes.change(assembly)
            assembly.components = [each for each in assembly.components if each is not part]
        module.take_out(part)
    return INSERTED


READS = (t1, t6, t8, t9, q1, q2, q3, q4, q5, q6, q7, q8)
WRITES = (t2a, t2b, t2c, t3a, t3b, t3c)
OPERATIONS = (*READS, *WRITES, insert, delete)
EXPECTED = {
    "t1": VISITED,
    "t2a": BASES * COMPONENTS,
    "t2b": VISITED,
    "t2c": VISITED,
    "t3a": BASES * COMPONENTS,
    "t3b": VISITED,
    "t3c": VISITED,
    "t6": BASES * COMPONENTS,
    "q1": LOOKUPS,
    "q2": PARTS // 100,
    "q3": PARTS // 10,
    "q7": PARTS,
    "q8": PARTS,
}
"""What they return; what is not here depends on what is random, and is the same in every store."""
