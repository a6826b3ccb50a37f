"""What a storage does whose data may be packed: ``PackedStorage``."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dobbin_like.contract.storage import Storage
from dobbin_like.contract.stored import StoredVersion
from dobbin_like.ids import Oid, Tid


@runtime_checkable
class PackedStorage(Storage, Protocol):
    """A storage whose data may be packed while it is open.

    Packing puts other data in the place of the old, without what nobody can see any more; or it
    takes that out of the data. Instances that are open follow when they read news. Where there
    are old data, they keep them as long as a snapshot needs them; else a snapshot that is older
    than a pack finds SnapshotDroppedError in the place of what is gone.
    """

    @property
    def generation(self) -> int:
        """How often the data were packed."""

    @property
    def retired(self) -> bool:
        """Whether the data go on in another place, to which read_news() follows."""

    @property
    def has_past(self) -> bool:
        """Whether data of before a pack are kept for older snapshots."""

    def drop_generations(self, oldest: Tid | None) -> None:
        """Drop the old data that no snapshot from *oldest* on needs; None: no snapshot.

        Serialized by the caller with read_news(). Does not wait for the system.
        """

    def pin(self, tid: Tid) -> object:
        """Keep what snapshots from *tid* on need, until unpin() is called with the result."""

    def unpin(self, token: object) -> None:
        """Take a pin() back. Nothing happens the second time."""

    def reaches(self, tid: Tid) -> bool:
        """Return whether the state as of *tid* is there, and all that was committed since."""

    def is_dropped(self, oid: Oid) -> bool:
        """Return whether a pack has dropped an object that this instance has known.

        It is asked for every object that a commit refers to: it costs no more than a small read
        now and then. Raises what reading does.
        """

    def load_dropped(self, oid: Oid, at: Tid) -> StoredVersion | None:
        """Return the version as of *at* of an object that a pack has dropped, if it is kept.

        Nothing led to the object by then, so that no snapshot needs it; a storage that goes on
        from *at* by itself may take it up again. Raises what reading does.
        """

    def place_of(self, oid: Oid) -> int:
        """Return where the newest version of an object lies: many are read fastest in this order.

        0: There is none.
        """

    def stream_is_moved(self, key: int) -> bool:
        """Return whether a stream has another key by now, or none, because of a pack."""
