"""What must be true of a module of OO7, whatever was done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.oo7 import ASSEMBLIES, ATOMS, CONNECTIONS, LEVELS

if TYPE_CHECKING:
    from benchmarks.oo7 import AtomicPart, CompositePart, Module


def check(module: Module) -> int:
    """Check all of it; return the number of composite parts.

    Raises AssertionError: Something does not fit together.
    """
    parts = [document.part for document in module.documents_by_number.values()]
    bases = _check_assembly(module.design_root, 1, None)
    assert sorted(base.number for base in bases) == sorted(base.number for base in module.bases)
    uses: dict[int, list[int]] = {part.number: [] for part in parts}
    for base in bases:
        for part in base.components:
            uses[part.number].append(base.number)
    atoms: dict[int, AtomicPart] = {}
    for part in parts:
        assert sorted(uses[part.number]) == sorted(base.number for base in part.used_in)
        _check_part(part)
        atoms.update((atom.number, atom) for atom in part.parts)
    _check_indexes(module, parts, atoms)
    return len(parts)


def _check_assembly(assembly: Any, level: int, above: Any) -> list[Any]:
    """Return the base assemblies below it."""
    assert assembly.above is above
    if level == LEVELS:
        return [assembly]
    assert len(assembly.below) == ASSEMBLIES
    return [base for each in assembly.below for base in _check_assembly(each, level + 1, assembly)]


def _check_part(part: CompositePart) -> None:
    assert part.document.part is part
    assert part.document.number == part.number
    assert len(part.parts) == ATOMS
    assert part.root_part is part.parts[0]
    for atom in part.parts:
        assert atom.part_of is part
        assert atom.document_number == part.number
        assert len(atom.to) == CONNECTIONS
        for connection in atom.to:
            assert connection.from_ is atom
            assert connection.to.part_of is part
            assert any(each is connection for each in connection.to.from_)
        assert all(connection.to is atom for connection in atom.from_)


def _check_indexes(
    module: Module, parts: list[CompositePart], atoms: dict[int, AtomicPart]
) -> None:
    assert list(module.parts_by_number.keys()) == sorted(atoms)
    assert all(atoms[number] is atom for number, atom in module.parts_by_number.items())
    dates = sorted((atom.build_date, atom.number) for atom in atoms.values())
    assert list(module.parts_by_date.keys()) == dates
    assert all(key[1] == atom.number for key, atom in module.parts_by_date.items())
    titles = sorted(part.document.title for part in parts)
    assert list(module.documents_by_title.keys()) == titles
