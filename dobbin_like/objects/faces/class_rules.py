"""What the body of a persistent class may define."""

from __future__ import annotations

from typing import Any

from dobbin_like.exc import ClassNotSupported

HOOKS = frozenset(
    {"_p_merge", "_p_migrate", "_p_part_of", "_p_replay", "_p_resolve_conflict", "_p_version"}
)
"""The names with ``_p_`` that a user's class may define."""


def check_declaration(name: str, namespace: dict[str, Any]) -> None:
    """Raise ClassNotSupported if the body of a persistent class defines what its faces need."""
    if str(namespace.get("__module__", "")).startswith("dobbin_like."):
        return
    if namespace.get("__slots__"):
        reason = (
            "it has __slots__ (attrs and dataclasses make them with slots=True): a state is "
            "a dict, and is replaced as one; leave them out"
        )
        raise ClassNotSupported(name, reason)
    for attribute in namespace:
        if attribute.startswith("_p_") and attribute not in HOOKS:
            hooks = ", ".join(sorted(HOOKS))
            reason = f"{attribute}: names with _p_ are reserved, but for {hooks}"
            raise ClassNotSupported(name, reason)
    _check_version(name, namespace)
    part_of = namespace.get("_p_part_of", "")
    if not isinstance(part_of, str):
        reason = f"_p_part_of is {part_of!r:.60}, expected the name of an attribute"
        raise ClassNotSupported(name, reason)
    for attribute in ("__dict__", "__class__", "__weakref__"):
        if attribute in namespace:
            raise ClassNotSupported(name, f"it redefines {attribute}, which its faces need")


def _check_version(name: str, namespace: dict[str, Any]) -> None:
    version = namespace.get("_p_version", 0)
    if type(version) is not int or version < 0:
        reason = f"_p_version is {version!r}, expected an int that grows with each change"
        raise ClassNotSupported(name, reason)
    migrate = namespace.get("_p_migrate")
    if migrate is not None and not isinstance(migrate, (staticmethod, classmethod)):
        reason = "_p_migrate gets a state, no object yet; make it a static or class method"
        raise ClassNotSupported(name, reason)
