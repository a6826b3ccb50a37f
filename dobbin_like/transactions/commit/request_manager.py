"""Refuses changes that no one would commit: a request has a transaction manager of its own."""

from __future__ import annotations

import sys
from typing import Any

from dobbin_like.exc import OtherManagerError


def refuse_in_request_of_other(path: str, manager: Any) -> None:
    """Raise OtherManagerError if ``pyramid_tm`` commits by another manager than *manager*.

    For changes before which nobody has begun a transaction: the program believes that the
    framework has. Elsewhere the framework does not say so in a place that can be asked.
    """
    pyramid = sys.modules.get("pyramid.threadlocal")
    request = None if pyramid is None else pyramid.get_current_request()
    given = getattr(request, "environ", {}).get("tm.manager")
    if given is not None and getattr(given, "manager", given) is not manager:
        raise OtherManagerError(path)
