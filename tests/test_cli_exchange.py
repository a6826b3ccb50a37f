"""``dobbin export`` and ``dobbin import``: as JSON and back, from the command line."""

from __future__ import annotations

import dbm.dumb
import gc
import io
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import transaction

from dobbin_like import cli
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exchange.new_database import NewDatabase
from dobbin_like.persistent import PersistentDict, PersistentFile, checkout
from tests.helpers import processes
from tests.helpers.limits import at_most
from tests.helpers.transactions import change


@pytest.fixture
def shop(path: Path) -> str:
    with Database(path) as database:
        database.set_root(PersistentDict(a=PersistentDict(name="first-marker"), n=1))
        transaction.commit()
        checkout(database.root)
        database.root["n"] = 2
        transaction.commit()
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def damage(path: str, text: bytes) -> None:
    with Path(path).open("r+b") as file:
        data = file.read()
        file.seek(data.index(text))
        file.write(bytes(len(text)))


@pytest.mark.parametrize(
    ("name", "start", "words"),
    [
        ("Data.fs", b"FS30", "--from zodb SOURCE takes it"),
        ("a.durus", b"SHELF-1\n", "--from durus SOURCE takes it"),
        ("things.dat", None, "--from shelve THINGS takes it"),
        ("things", None, "--from shelve THINGS takes it"),
    ],
)
def test_a_file_of_another_kind_is_told_as_that(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, start: bytes | None, words: str
) -> None:
    source, things = tmp_path / name, tmp_path / "things"
    if start is None:
        dbm.dumb.open(str(things)).close()
    else:
        source.write_bytes(start)
    code, out, err = run(capsys, "import", str(source), str(tmp_path / "new.log"))

    assert (code, out) == (2, "")
    assert err.endswith(words.replace("SOURCE", str(source)).replace("THINGS", str(things)) + "\n")


def test_a_database_goes_through_a_file(
    capsys: pytest.CaptureFixture[str], shop: str, tmp_path: Path
) -> None:
    lines, new = str(tmp_path / "shop.jsonl"), str(tmp_path / "new.log")

    code, out, err = run(capsys, "export", shop, "--to", "json", lines)
    assert (code, err) == (0, "")
    assert out.startswith(f"{lines}: 2 objects, 0 streams; as of tid ")
    code, out, err = run(capsys, "import", lines, new)

    assert (code, err) == (0, "")
    assert out.startswith(f"{new}: 2 objects of ")
    check_log(new).raise_if_bad()
    with Database(new) as database:
        assert database.root == {"a": {"name": "first-marker"}, "n": 2}


@pytest.mark.slow
def test_an_export_can_be_piped_into_an_import(shop: str, tmp_path: Path) -> None:
    new = tmp_path / "new.log"
    dobbin = f"{sys.executable} -m dobbin_like"
    call = f"{dobbin} export {shop} a | {dobbin} import - {new} --json"
    ended = subprocess.run(
        call, shell=True, check=True, stdout=subprocess.PIPE, env=processes.python_path()
    )

    assert json.loads(ended.stdout)["objects"] == 1
    with Database(new) as database:
        assert database.root == {"name": "first-marker"}


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_full_disk_is_told_with_the_file(
    capsys: pytest.CaptureFixture[str], shop: str, tmp_path: Path, size: int
) -> None:
    lines, full = str(tmp_path / "lines"), tmp_path / "full"
    with Database(shop) as database:
        for n in range(100):
            change(database, **{f"page{n}": "x" * 2_000})
        change(database, film=PersistentFile(io.BytesIO(bytes(200_000))))
    assert run(capsys, "export", shop, "--to", "json", lines)[0] == 0

    for command in ["export", shop, "--to", "json", str(full)], ["import", lines, str(full)]:
        with at_most(size):
            code, _, err = run(capsys, *command)

        assert (code, err.strip()) == (2, f"dobbin: {full}.part: File too large")
        assert not [*tmp_path.glob("full*")]


@pytest.mark.parametrize("size", [100, 5_000])
def test_a_full_disk_leaves_no_file_open(tmp_path: Path, size: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with (  # noqa: PT012  The end of the block raises it, too.
            at_most(size),
            pytest.raises(OSError, match="File too large"),
            NewDatabase(tmp_path / "new", "imported") as new,
        ):
            for oid in range(10):
                new.put(oid, ("dobbin_like.persistent", "PersistentDict"), {"a": "x" * 2_000})
            new.complete()
        gc.collect()

    assert [str(each.message) for each in told] == []


def test_an_export_may_be_of_the_past(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    with Database(shop) as database:
        first = min(each.tid for each in database.transactions())
    _, now, _ = run(capsys, "export", shop)
    _, then, _ = run(capsys, "export", shop, "--at", str(first))

    assert '"n": 2' in now
    assert '"n": 1' in then


def test_an_export_says_what_it_has_as_json(
    capsys: pytest.CaptureFixture[str], shop: str, tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "export", shop, "--to", "json", str(tmp_path / "x.jsonl"), "--json")

    facts = json.loads(out)
    assert code == 0
    assert (facts["objects"], facts["damaged"]) == (2, 0)


def test_what_is_damaged_is_left_out_and_told(
    capsys: pytest.CaptureFixture[str], shop: str, tmp_path: Path
) -> None:
    damage(shop, b"first-marker")
    lines, new = str(tmp_path / "shop.jsonl"), str(tmp_path / "new.log")

    code, out, _ = run(capsys, "export", shop, "--to", "json", lines)
    assert (code, "1 damaged object left out" in out) == (1, True)
    code, out, _ = run(capsys, "import", lines, new)

    assert code == 1
    assert "problem: oid 1: at " in out
    assert "1 object referred to, but not there" in out


@pytest.mark.parametrize("of", ["export", "import"])
def test_nothing_is_overwritten(
    capsys: pytest.CaptureFixture[str], shop: str, tmp_path: Path, of: str
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    lines = tmp_path / "lines"
    run(capsys, "export", shop, "--to", "json", str(lines))

    call = ("export", shop, "--to", "json", str(there))
    code, out, err = run(capsys, *(call if of == "export" else ("import", str(lines), str(there))))

    assert (code, out) == (2, "")
    assert f"{there}: a file is there already" in err
    assert there.read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("export", "SHOP", "nowhere"), "has no 'nowhere'"),
        (("export", "SHOP", "99"), "no object with oid 99"),
        (("export", "SHOP", "n"), "is a value in an object"),
        (("export", "SHOP", "--to", "xml", "x"), "'xml' is not"),
        (("import", "SHOP", "new.log"), "line 1: b'"),
        (("import", "nothing", "new.log"), "nothing: No such file"),
        (("import", "DIRECTORY", "new.log"), "is a directory"),
        (("import", "", "new.log"), "the path is empty"),
        (("import", "SHOP", ""), "the path is empty"),
        (("export", "SHOP", "--to", "json", ""), "the path is empty"),
        (("import", "--from", "shelve", "nothing", "new.log"), "no such file, expected a shelf"),
        (("import", "--from", "shelve", "SHOP", "new.log"), "an unknown format"),
        (("import", "SHOP", "new.log", "--classes", "x"), "--classes is for zodb"),
        (("import", "SHOP", "new.log", "--blobs", "DIRECTORY"), "--blobs is for zodb"),
    ],
)
def test_wrong_usage_is_told(
    capsys: pytest.CaptureFixture[str], shop: str, args: tuple[str, ...], text: str
) -> None:
    places = {"SHOP": shop, "DIRECTORY": str(Path(shop).parent)}
    code, out, err = run(capsys, *(places.get(arg, arg) for arg in args))

    assert (code, out) == (2, "")
    assert text in err


def interrupt(process: subprocess.Popen[str], part: Path) -> str:
    """Press Ctrl-C when something is in *part*, the file that is written; return what was said."""
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    return err


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_of_an_export(path: Path, tmp_path: Path) -> None:
    with Database(path) as database:
        long = {n: PersistentDict(long=bytes(20_000_000)) for n in range(3)}
        database.set_root(PersistentDict(long))
        transaction.commit()
    there = {*tmp_path.iterdir()}
    with processes.dobbin("export", str(path), "--to", "json", str(tmp_path / "made")) as process:
        err = interrupt(process, tmp_path / "made.part")

    assert process.returncode == 130, err
    assert {*tmp_path.iterdir()} == there


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_of_an_import(tmp_path: Path) -> None:
    with processes.dobbin("import", "-", str(tmp_path / "made")) as process:
        assert process.stdin is not None
        process.stdin.write('{"dobbin": "export", "version": 1, "tid": 1, "start": null}\n')
        # More than a pipe takes: it has begun to read when all of it is written.
        for oid in range(3000):
            state = {"text": "x" * 50}
            line = {"oid": oid, "class": "a:B", "state": state}
            process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

    assert process.returncode == 130, err
    assert [*tmp_path.iterdir()] == []
