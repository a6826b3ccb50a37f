"""What a storage does whose objects lie far away: read many at once, and keep nobody out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol, TypeGuard, runtime_checkable

from dobbin_like.contract.storage import Storage
from dobbin_like.contract.stored import Transaction
from dobbin_like.ids import Oid

_AT_ONCE: Final = 1000
"""Objects; of 1 KiB, a megabyte."""


@runtime_checkable
class DistantStorage(Storage, Protocol):
    """A storage that reads many objects faster at once than one after the other."""

    def read_ahead(self, oids: Sequence[Oid]) -> None:
        """Prepare for ``load()`` of these objects, which comes soon, newest versions first.

        A hint: as many are read as is sensible, and kept until they are loaded once.
        """

    def has_made(self, transaction: Transaction) -> bool:
        """Return whether a transaction was appended by this instance.

        Its tid does not tell: another one may have been faster with the same.
        """


def is_distant(given: Storage) -> TypeGuard[DistantStorage]:
    """Return whether *given* has ``read_ahead()``."""
    return hasattr(type(given), "read_ahead")


def reading_ahead(
    storage: Storage, oids: Iterable[Oid], is_wanted: Callable[[Oid], bool] = lambda _oid: True
) -> Iterator[Oid]:
    """Yield *oids*; if that is faster, many of those that will be loaded are read at once.

    Args:
        is_wanted: Whether an object will be loaded before the next oid is asked for.
    """
    if not is_distant(storage):
        yield from oids
        return
    following = iter(oids)
    while several := list(islice(following, _AT_ONCE)):
        wanted = list(filter(is_wanted, several))
        if len(wanted) > 1:
            storage.read_ahead(wanted)
        yield from several
