"""Trees whose nodes are so small that few keys make them deep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.collections import check_btree
from dobbin_like.collections.btree import build, check, nodes, plan

if TYPE_CHECKING:
    import pytest


SMALL = {"LEAF_MAX": 8, "LEAF_MIN": 3, "INNER_MAX": 6, "INNER_MIN": 3}


def make_small(patch: pytest.MonkeyPatch) -> None:
    for module in (nodes, plan, build, check):
        for name, value in SMALL.items():
            if hasattr(module, name):
                patch.setattr(module, name, value)


def sound(tree: Any) -> bool:
    problems = check_btree(tree)
    assert not problems
    return True
