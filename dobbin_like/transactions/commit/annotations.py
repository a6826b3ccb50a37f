"""What the log stores of a transaction besides its objects: user, description, why it failed."""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.contract import Storage
from dobbin_like.exc import NotStorableError
from dobbin_like.transactions.commit.lock import new_tid
from dobbin_like.transactions.commit.state import BEGUN, IDLE, REPLAYING, CommitState

NO_ANNOTATIONS: Final[dict[str, Any]] = {}


def annotations_of(transaction: Any) -> dict[str, Any]:
    """Return user, description and extension as a storage takes them.

    Raises NotStorableError: The extension is not JSON.
    """
    user, description = transaction.user, transaction.description
    extension, data = transaction.extension, b""
    if extension:
        import json

        try:
            data = json.dumps(extension, sort_keys=True).encode()
        except (TypeError, ValueError) as error:
            name = "transaction.extension"
            raise NotStorableError(name, None, ".", f"not JSON: {error}") from error
    return {"user": user or "", "description": description or "", "extension": data}


def record_failure(
    storage: Storage, state: CommitState, reason: str, annotations: dict[str, Any]
) -> None:
    """Let the log say that a transaction has failed, unless it failed before it had changes."""
    entries = [] if state.changes is None else state.changes.entries
    gathered = state.phase not in (IDLE, BEGUN, REPLAYING) and entries
    if reason or gathered:
        reason = reason or "refused by another participant"
        oids = [entry[0] for entry in entries]
        storage.fail(new_tid(storage), reason, oids=oids, **annotations)
