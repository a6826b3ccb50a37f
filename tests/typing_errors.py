"""What a type checker has to refuse. Type-checked only, never run: an ignore must be needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dobbin_like import Persistent, checkout

if TYPE_CHECKING:
    from dobbin_like import (
        BTree,
        BTreeSet,
        Database,
        PersistentDict,
        PersistentList,
        PersistentSet,
    )


class Account(Persistent):
    def __init__(self, owner: str) -> None:
        self.owner = owner


def constructors_have_their_arguments() -> None:
    Account()  # type: ignore[call-arg]
    Account(5)  # type: ignore[arg-type]


def a_checkout_is_of_persistent_objects_and_returns_nothing(account: Account) -> None:
    checkout([])  # type: ignore[arg-type]
    nothing: None = checkout(account)  # type: ignore[func-returns-value]
    assert nothing is None


def a_class_is_asked_for_by_itself_or_its_name(db: Database) -> None:
    db.instances(3)  # type: ignore[call-overload]


def a_root_is_what_the_database_says(db: Database[Account]) -> None:
    number: int = db.root  # type: ignore[assignment]
    assert number


def collections_know_what_is_in_them(
    by_name: PersistentDict[str, Account],
    accounts: PersistentList[Account],
    names: PersistentSet[str],
    tree: BTree[str, Account],
    numbers: BTreeSet[int],
) -> None:
    by_name[5] = Account("Eve")  # type: ignore[index]
    by_name["Eve"] = "Eve"  # type: ignore[assignment]
    accounts.sort()  # type: ignore[call-arg]
    accounts.append("Ada")  # type: ignore[arg-type]
    names.add(5)  # type: ignore[arg-type]
    tree[1] = Account("a")  # type: ignore[index]
    numbers.add("a")  # type: ignore[arg-type]
