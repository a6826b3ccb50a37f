"""What the ``transaction`` package tells by no public method, read from its attributes.

Managers and transactions of other packages may lack these.
"""

from __future__ import annotations

from typing import Any

from transaction.interfaces import NoTransaction


def transaction_of(manager: Any) -> Any:
    """Return the transaction of a manager, ``None`` if there is none."""
    try:
        return manager._txn  # noqa: SLF001  get() would make one, without explicit begins.
    except AttributeError:
        pass
    try:
        return manager.get()
    except NoTransaction:
        return None


def may_have_begun(manager: Any) -> bool:
    """Tell whether a manager has a transaction; True if that is not known."""
    return getattr(manager, "_txn", manager) is not None


def participants_of(transaction: Any) -> Any:
    """Return the data managers that take part in a transaction; none if they are not known."""
    return getattr(transaction, "_resources", ())
