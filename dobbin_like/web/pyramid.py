"""Pyramid: ``config.include("dobbin_like.web.pyramid")``.

The transactions are those of ``pyramid_tm``, with whatever manager it is told to use, and
``pyramid_retry`` runs a request again; both are included. The database follows the manager of
the request. The settings are ``dobbin.database``, a path or a URI as for
:func:`dobbin_like.open`, and ``dobbin.root``, the dotted name of what makes the root if there is
none. A request has ``request.db``, the database.
"""

from __future__ import annotations

from typing import Any

import transaction
from pyramid.threadlocal import get_current_request

from dobbin_like.web.root import open_with_root

__all__ = ["includeme", "manager_in_use"]


def manager_in_use() -> Any:
    """Return the transaction manager of the request, or else that of threads.

    RuntimeError: The request has none: nobody would commit what a view changes.
    """
    request = get_current_request()
    if request is None:
        return transaction.manager
    try:
        return request.tm
    except AttributeError:
        text = (
            "this request is no transaction, its changes would be lost: call "
            'config.include("dobbin_like.web.pyramid"), or config.include("pyramid_tm")'
        )
        raise RuntimeError(text) from None


def includeme(config: Any) -> None:
    """Open the database; let its transactions be those of the requests."""
    config.include("pyramid_retry")
    config.include("pyramid_tm")
    settings = config.get_settings()
    database = open_with_root(
        settings["dobbin.database"],
        config.maybe_dotted(settings.get("dobbin.root")),
        transaction_manager=manager_in_use,
    )
    config.add_request_method(lambda _request: database, "db", property=True)
