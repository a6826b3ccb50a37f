"""Errors of classes, of which states are stored and change more slowly than programs do."""

from __future__ import annotations

from typing import Final

from dobbin_like.exc.base import HOME, UsageError
from dobbin_like.ids import Oid

__all__ = [
    "BrokenObjectError",
    "ChangedBaseError",
    "ClassNotSupported",
    "MainModuleWarning",
    "MigrationError",
    "NewerStateError",
    "RedefinedClassWarning",
    "RenameError",
    "UnloadedClassError",
    "ValueNotRebuiltError",
]


class ClassNotSupported(UsageError, TypeError):
    """A class can't be persistent. Raised where the class is defined."""

    class_name: str
    reason: str
    text = "class {class_name} can't be persistent: {reason}"


class MainModuleWarning(UserWarning):
    """An object of a class of ``__main__`` was stored: other programs can't load it."""

    __module__ = HOME


class RedefinedClassWarning(UserWarning):
    """Objects were asked for by a class that was defined again, as by a cell of a notebook.

    They are found, and keep the class that they were made or loaded with until the database is
    opened again.
    """

    __module__ = HOME


NOT_IMPORTED: Final = "the module {module} is not imported"
NOT_NAMED: Final = "it is no persistent class, enum or dataclass, and not named in allow"
NOT_PERSISTENT: Final = "it is not a subclass of Persistent any more"
OF_ANOTHER_STORE: Final = (
    "it is a persistent class of another package, changes of whose objects would be lost here"
)
NOT_THERE: Final = "the module {module} has no {qualname}"
NO_IMPORT: Final = "importing {module} raised {error}"
"""Reasons why a class is not loaded, for each of which something else helps."""

_RENAME: Final = "call db.rename_class('{module}.{qualname}', new) if it is"
FROM_ANOTHER_STORE: Final = (
    "derive it from dobbin_like.Persistent; instead of a mapping, list, set or tree of the other "
    "package, use a PersistentDict, PersistentList, PersistentSet, BTree or BTreeSet"
)
"""What to do about OF_ANOTHER_STORE."""
_REMEDIES: Final = {
    NOT_IMPORTED: "import {module} first, or open with allow=['{module}.*']",
    NOT_NAMED: "open with allow=['{module}.{qualname}']",
    NOT_PERSISTENT: "derive it from Persistent again",
    OF_ANOTHER_STORE: FROM_ANOTHER_STORE,
    NOT_THERE: f"define it there, or {_RENAME} another class by now",
    NO_IMPORT.removesuffix("{error}"): (
        f"correct {{module}}, or {_RENAME} in another module by now"
    ),
}
_OF_MAIN: Final = (
    "it was stored by a program whose __main__ had it: move it to a module, and call "
    "db.rename_class('__main__.{qualname}', 'the_module.{qualname}')"
)


class UnloadedClassError(UsageError, TypeError):
    """A value was used whose class is not loaded. It can be kept, moved and stored unchanged."""

    module: str
    qualname: str
    reason: str
    text = "the class {module}.{qualname} is not loaded: {reason}"

    @property
    def remedy(self) -> str:
        """What to do about the reason; empty: nothing is known."""
        names = {"module": self.module, "qualname": self.qualname}
        for reason, remedy in _REMEDIES.items():
            if self.reason.startswith(reason.format_map(names)):
                is_of_main = self.module == "__main__" and reason == NOT_THERE
                return (_OF_MAIN if is_of_main else remedy).format_map(names)
        return ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (super().__str__(), self.remedy)))


class BrokenObjectError(UnloadedClassError, AttributeError):
    """The stored state of an object whose class is not loaded has no such attribute."""

    name: str
    text = (
        "the stored state has no {name!r}, and the class {module}.{qualname} is not loaded: "
        "{reason}"
    )


IS_PERSISTENT_NOW: Final = (
    "it was stored as a value, when its class was not persistent (or the data was tampered with)"
)
"""The reason of a value of which there can be none any more."""


class ValueNotRebuiltError(UnloadedClassError):
    """A value was used that its class does not make any more of what is stored.

    It can be kept, moved and stored unchanged; the rest of its object can be read.
    """

    text = (
        "a {module}.{qualname} can't be rebuilt: {reason}; let its class take what is stored, or "
        "convert it in _p_migrate"
    )

    def __str__(self) -> str:
        if self.module == "builtins":  # It fails only for what it has as a key.
            return (
                f"a {self.qualname} can't be rebuilt, a key or member of it has no hash or can't "
                f"be compared: {self.reason}; correct __hash__ or __eq__ of its class, then open "
                "the database again"
            )
        if self.reason != IS_PERSISTENT_NOW:
            return super().__str__()
        return (
            f"a {self.module}.{self.qualname} can't be rebuilt: {self.reason}; give the "
            "persistent class another name, or make an object of the value in _p_migrate of the "
            "class that has it, and call db.migrate()"
        )


class NewerStateError(UsageError, RuntimeError):
    """A state was stored by a newer version of its class. The object stays unread."""

    class_name: str
    oid: Oid
    found: int
    expected: int
    text = (
        "{class_name} oid {oid} was stored as version {found}, the class of this program is "
        "version {expected}; run a newer program"
    )


class MigrationError(UsageError, RuntimeError):
    """An old state could not be converted to the version of its class. The object stays unread.

    If ``_p_migrate`` raised an exception, it is ``__cause__``.
    """

    class_name: str
    oid: Oid
    found: int
    expected: int
    reason: str
    text = (
        "{class_name} oid {oid}, from version {found} to {expected}: {reason}; correct "
        "{class_name}._p_migrate"
    )


class ChangedBaseError(UsageError, TypeError):
    """A state was stored when its class had another base: a plain one, a dict, a list.

    What the new base needs is not in it; nothing was changed.
    """

    class_name: str
    oid: Oid
    found: str
    expected: str
    text = (
        "{class_name} oid {oid} was stored with {found}, its class expects {expected}; give the "
        "class its former base, or a _p_version and a _p_migrate"
    )


class RenameError(UsageError, ValueError):
    """A class can't be renamed as requested. Nothing was written."""

    old: str
    new: str
    reason: str
    text = "can't rename {old} to {new}: {reason}"
