"""A model of pydantic, for tests that are skipped where it is not installed."""

from __future__ import annotations

import functools

import pydantic


class Model(pydantic.BaseModel):
    w: int = 2

    @functools.cached_property
    def area(self):
        return lambda: None
