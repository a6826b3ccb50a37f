"""Values as the command shows them: as JSON, and in one line. No class is loaded."""

from __future__ import annotations

import json
from collections import ChainMap, Counter, OrderedDict, UserList, UserString, defaultdict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from dobbin_like.cli.text import safe
from dobbin_like.cli.values import Values, to_json
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.instances.makers import maker_of
from dobbin_like.objects.codec.stand_in import make_stand_in, stand_in_member
from dobbin_like.objects.codec.state_reader import Reference

MONEY: Any = make_stand_in(("shop.models", "Money"), 3, "no class is loaded here")


def name_of(number: int) -> str:
    return "shop.Cart"


def money(**state: Any) -> Any:
    made = MONEY.__new__(MONEY)
    made.__setstate__(state)
    return made


def cycle() -> list[Any]:
    made: list[Any] = [1]
    made.append({"up": made})
    return made


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        (None, None, "None"),
        (True, True, "True"),
        (1.5, 1.5, "1.5"),
        ("a\udc80", "a\udc80", "'a\\udc80'"),
        ([1, (2,)], [1, [2]], "[1, (2,)]"),
        ({"a": {}}, {"a": {}}, "{'a': {}}"),
        ({1: 2}, {"$type": "dict", "value": [[1, 2]]}, "{1: 2}"),
        ({"$ref": 2}, {"$type": "dict", "value": [["$ref", 2]]}, "{'$ref': 2}"),
        ({3}, {"$type": "set", "value": [3]}, "{3}"),
        (frozenset(), {"$type": "set", "value": []}, "set()"),
        (b"\0\xff", {"$type": "bytes", "value": "AP8="}, "b'\\x00\\xff'"),
        (float("nan"), {"$type": "float", "value": "nan"}, "nan"),
        (Reference(Oid(5), 1), {"$ref": 5, "class": "shop.Cart"}, "<shop.Cart oid 5>"),
        (
            money(amount=3, of=Reference(Oid(5), 1)),
            {
                "$type": "shop.models.Money",
                "attributes": {"amount": 3, "of": {"$ref": 5, "class": "shop.Cart"}},
            },
            "Money(amount=3, of=<shop.Cart oid 5>)",
        ),
        (
            stand_in_member(MONEY, 3, "RED"),
            {"$type": "shop.models.Money", "value": "RED"},
            "shop.models.Money.RED",
        ),
        (MONEY, {"$type": "type", "value": "shop.models.Money"}, "shop.models.Money"),
        (maker_of(int), {"$type": "type", "value": "int"}, "int"),
        (maker_of(deque), {"$type": "type", "value": "collections.deque"}, "collections.deque"),
        (date, {"$type": "type", "value": "datetime.date"}, "datetime.date"),
        (
            datetime(2026, 1, 31, tzinfo=UTC),
            {"$type": "datetime.datetime", "value": "2026-01-31T00:00:00+00:00"},
            "datetime.datetime(2026, 1, 31, 0, 0, tzinfo=datetime.timezone.utc)",
        ),
        (
            date(2026, 1, 31),
            {"$type": "datetime.date", "value": "2026-01-31"},
            "datetime.date(2026, 1, 31)",
        ),
        (
            timedelta(1),
            {"$type": "datetime.timedelta", "value": "1 day, 0:00:00"},
            "datetime.timedelta(days=1)",
        ),
        (Decimal("1.50"), {"$type": "decimal.Decimal", "value": "1.50"}, "Decimal('1.50')"),
        (Fraction(1, 3), {"$type": "fractions.Fraction", "value": "1/3"}, "Fraction(1, 3)"),
        (UUID(int=1), {"$type": "uuid.UUID", "value": str(UUID(int=1))}, f"{UUID(int=1)!r}"),
        (deque([1]), {"$type": "collections.deque", "value": [1]}, "deque(1)"),
        (UserList([1]), {"$type": "collections.UserList", "value": [1]}, "UserList(1)"),
        (UserString("a"), {"$type": "collections.UserString", "value": "a"}, "a"),
        (Counter("a"), {"$type": "collections.Counter", "value": {"a": 1}}, "Counter('a': 1)"),
        (
            OrderedDict({2: 1}),
            {"$type": "collections.OrderedDict", "value": [[2, 1]]},
            "OrderedDict(2: 1)",
        ),
        (
            defaultdict(list, a=[]),
            {"$type": "collections.defaultdict", "value": {"a": []}},
            "defaultdict('a': [])",
        ),
        (
            ChainMap({"a": 1}),
            {"$type": "collections.ChainMap", "value": [{"a": 1}]},
            "ChainMap({'a': 1})",
        ),
        (
            SimpleNamespace(a=1),
            {"$type": "types.SimpleNamespace", "attributes": {"a": 1}},
            "SimpleNamespace(a=1)",
        ),
        (cycle(), [1, {"up": {"$cycle": 2}}], "[1, {'up': [1, {...}]}]"),
    ],
)
def test_a_value_is_json_and_a_line(value: Any, expected: Any, text: str) -> None:
    made = to_json(value, name_of)

    assert json.loads(json.dumps(made, allow_nan=False)) == expected
    assert Values(name_of).short(value) == text


def test_a_huge_number_is_text() -> None:
    number = 7**10_000

    made = to_json([number, Fraction(number, 2)], name_of)

    assert int(json.loads(json.dumps(made))[0]["value"], 16) == number
    assert Values(name_of).short(number) == "<int of 28,074 bits>"
    assert Values(name_of).short(Fraction(number, 2)) == "<Fraction>"


def test_what_is_too_deep_for_other_readers_of_json_is_left_out() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]

    assert '{"$type": "list", "too_deep": true}' in json.dumps(to_json(deep, name_of))
    assert Values(name_of).short(deep) == "[[[[...]]]]"


def test_a_large_value_is_a_short_line() -> None:
    values = Values(name_of)
    many = dict.fromkeys(range(100000), "x" * 1000)

    assert len(values.short(many)) == 200
    assert values.short(many, 2000).endswith("... 100,000 in all}")
    assert values.short(b"x" * 1000) == repr(b"x" * 40) + "... 1,000 bytes"
    assert values.short(list(range(7))) == "[0, 1, 2, 3, 4, ... 7 in all]"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert safe("[red]\x1b[31m\r\n\u202e\x9bé") == "[red]\\x1b[31m\\r\\n\\u202e\\x9bé"
