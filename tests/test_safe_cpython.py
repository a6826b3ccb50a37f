"""The test suites of CPython for ``shelve``, run against ``dobbin_like.safe``.

Imported from the standard library, nothing is copied: test_shelve is executed once more, and in
it the name ``shelve`` means a module whose ``open`` is ours. What cannot hold is in ``LEFT_OUT``,
with the reason.
"""

from __future__ import annotations

import importlib.util
import unittest
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from dobbin_like import safe

NO_SUITES = "this Python comes without the package test of the standard library"
mapping_tests: Any = pytest.importorskip("test.mapping_tests", reason=NO_SUITES)
pytest.importorskip("test.test_shelve", reason=NO_SUITES)

OVER_A_DICT = "it makes a Shelf over a mapping of its own; test_safe tells the same of a file"
PICKLES = "it is about the pickles in that mapping"

LEFT_OUT = {
    "test_close": OVER_A_DICT,
    "test_in_memory_shelf": OVER_A_DICT,
    "test_mutable_entry": OVER_A_DICT,
    "test_with": OVER_A_DICT,
    "test_keyencoding": PICKLES,
    "test_writeback_also_writes_immediately": PICKLES,
    "test_default_protocol": PICKLES,
}


def suites() -> Any:
    """Return a test_shelve of our own, in which shelves are safes."""
    spec = importlib.util.find_spec("test.test_shelve")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.shelve = SimpleNamespace(open=safe.open)
    return module


suite = suites()
# Since 3.15 a shelf can be told how to pickle.
LEFT_OUT |= {name: PICKLES for name in dir(suite.TestCase) if "serializer" in name}


def skipping(reason: str) -> Any:
    return unittest.skip(reason)(lambda self: None)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The suites make their files where they are.
    monkeypatch.chdir(tmp_path)


TestOpen = type(
    "TestOpen",
    (suite.TestCase,),
    {name: skipping(why) for name, why in LEFT_OUT.items() if hasattr(suite.TestCase, name)},
)


class InAFile(suite.TestShelveFileBase):  # type: ignore[misc, name-defined]
    type2test = safe.Safe
    dbm_mod = None  # The one that shelve would take.


class TestSafe(InAFile, mapping_tests.BasicTestMappingProtocol):
    _args: ClassVar[dict[str, Any]] = {}


class TestSafeWithWriteback(InAFile, mapping_tests.BasicTestMappingProtocol):
    _args: ClassVar[dict[str, Any]] = {"writeback": True}


class TestSafeWithProtocol(InAFile, mapping_tests.BasicTestMappingProtocol):
    _args: ClassVar[dict[str, Any]] = {"protocol": 0}


class TestSafeInATransaction(InAFile, mapping_tests.BasicTestMappingProtocol):
    """All that a test does with a safe is one transaction."""

    _args: ClassVar[dict[str, Any]] = {}

    def _empty_mapping(self) -> Any:
        made = super()._empty_mapping()
        group = made.transaction()
        group.__enter__()
        self.addCleanup(group.__exit__, None, None, None)
        return made


def test_what_is_left_out_is_there() -> None:
    assert [name for name in LEFT_OUT if not hasattr(suite.TestCase, name)] == []
