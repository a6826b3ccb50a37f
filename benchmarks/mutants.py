"""Small mutations of the log, each of which breaks a promise: the simulation has to find them.

Used by ``python -m benchmarks.simulate --mutants`` and by the tests.
"""

from __future__ import annotations

from typing import Final

from dobbin_like.testing.mutation import Mutant

_WRITING: Final = "dobbin_like.log.writing."
_WRITER: Final = _WRITING + "writer:Writer."
_APPENDED: Final = _WRITING + "appended:Appended."
_SYNCING: Final = _WRITING + "syncing:"
_RECOVERY: Final = _WRITING + "recovery:"
_PRESENCE: Final = _WRITING + "presence:"
_WRITABLE: Final = _WRITING + "writable:WritableLog."
_DURABILITY: Final = _WRITING + "durability:Durability."
_READABLE: Final = "dobbin_like.log.reading.readable:ReadableLog."
_FILE: Final = "dobbin_like.log.file."

_SYNC: Final = "    try:\n        disk.sync(file.fd, file.path)\n"

MUTANTS: Final = (
    # -- recovery
    Mutant("no recovery", _RECOVERY + "recover", "    size =", "    return\n    size =", "cuts"),
    Mutant(
        "recovery does not write again",
        _RECOVERY + "recover",
        "    write_again(file, durable, end)\n",
        "",
        "sync",
    ),
    Mutant(
        "recovery does not sync",
        _RECOVERY + "recover",
        "disk.sync(file.fd, file.path)\n    except",
        "pass\n    except",
        "cuts kills",
    ),
    Mutant(
        "recovery does not sync the name",
        _RECOVERY + "recover",
        "disk.sync_directory(file.path)",
        "pass",
        "kill cuts",
    ),
    Mutant(
        "recovery does not cut",
        _RECOVERY + "recover",
        "disk.cut(file.fd, file.path, end)\n    write",
        "pass\n    write",
        "kills",
    ),
    Mutant(
        "recovery believes LOOSE",
        _RECOVERY + "recover",
        "    size =",
        "    if log.file.words.find(2) > log.file.words.find(1):\n        return\n    size =",
        "loose cuts",
    ),
    Mutant(
        "recovery keeps LOOSE",
        _RECOVERY + "_store",
        "words.put(LOOSE, end, end)",
        "words.put(3, end)",
        "loose cuts",
    ),
    Mutant(
        "recovery keeps APPENDED",
        _RECOVERY + "_store",
        "words.put(LOOSE, end, end)",
        "words.put(LOOSE, end)",
        "cuts kills",
    ),
    Mutant(
        "recovery keeps DURABLE", _RECOVERY + "_store", "    words.put(DURABLE, end)\n", "", "cuts"
    ),
    Mutant(
        "recovery does not look at FAILURES",
        _RECOVERY + "_is_right",
        "        and not said.failures & 1\n",
        "",
        "sync",
    ),
    Mutant(
        "a repair is not counted",
        _RECOVERY + "_store",
        "(said.failures or 1) + 1",
        "0",
        "sync evict",
    ),
    # -- who is there
    Mutant(
        "no OPENING lock",
        _PRESENCE + "join",
        "            range_wait.take(file.fd, file.path, OPENING)\n",
        "",
        "kills cuts",
    ),
    Mutant(
        "who opens is never alone",
        _PRESENCE + "_join",
        "is_alone = range_lock.lock(file.fd, file.path, WRITER, wait=False)",
        "is_alone = False",
        "cuts",
    ),
    Mutant(
        "who recovers looks like one that writes",
        _PRESENCE + "_join",
        "is_alone = range_lock.lock(file.fd, file.path, WRITER, wait=False)",
        "is_alone = range_lock.lock(file.fd, file.path, WRITER, shared=True, wait=False)",
        "cuts loose",
    ),
    Mutant(
        "who opens does not lock",
        _PRESENCE + "_join",
        "        range_lock.lock(file.fd, file.path, WRITER, shared=True)\n",
        "        range_lock.unlock(file.fd, file.path, WRITER)\n",
        "threads",
    ),
    Mutant(
        "a replaced file is recovered",
        _FILE + "at_path:is_at_path",
        "return (found.st_dev, found.st_ino) == file.key",
        "return True",
        "pack stops",
    ),
    Mutant(
        "who opens asks for no failure",
        _PRESENCE + "has_failed",
        "return failures is None or bool(failures & 1)",
        "return False",
        "sync",
    ),
    Mutant(
        "threads join while one has the lock",
        _WRITABLE + "_join",
        "with self.lock.kept_free:",
        "if True:",
        "threads",
    ),
    # -- syncing
    Mutant(
        "DURABLE before the sync",
        _SYNCING + "_sync",
        _SYNC,
        "    words.put(DURABLE, target)\n" + _SYNC,
        "cuts",
    ),
    Mutant("no sync", _SYNCING + "_sync", "disk.sync(file.fd, file.path)", "pass", "cuts"),
    Mutant(
        "the end is read after the sync",
        _SYNCING + "_sync",
        "return _seen(known, words.put(DURABLE, target), target) if target > durable else None",
        "words.put(DURABLE, words.get(APPENDED))",
        "threads",
    ),
    Mutant(
        "what others append beside a sync is not asked for",
        _APPENDED + "_is_synced_only",
        "and block[LOOSE_AT:_APPENDED_END] == known[LOOSE_AT:_APPENDED_END]\n",
        "\n",
        "threads",
    ),
    Mutant(
        "a repair beside a sync is not asked for",
        _APPENDED + "_is_synced_only",
        "and block[_FAILURES_AT:WAITING_AT] == known[_FAILURES_AT:]\n",
        "\n",
        "sync evict threads",
    ),
    Mutant(
        "SYNCING is not asked",
        _SYNCING + "_sync",
        "said.syncing is None or said.syncing > durable",
        "False",
        "sync kills",
    ),
    Mutant(
        "SYNCING is not stored",
        _SYNCING + "_sync",
        "words.put(SYNCING, target)",
        "pass",
        "sync kills",
    ),
    Mutant(
        "a sync that failed is forgotten",
        _SYNCING + "_sync",
        "words.put(FAILURES, failures | 1)\n        raise\n",
        "words.put(SYNCING, durable)\n        raise\n",
        "sync",
    ),
    Mutant(
        "repairs are not asked for",
        _SYNCING + "_check_not_repaired",
        "if found >> 1 != failures >> 1:",
        "if False:",
        "sync evict threads",
    ),
    Mutant(
        "repairs are not asked for if it is durable",
        _SYNCING + "SyncQueue._make_durable",
        "            _check_not_repaired(words.get(FAILURES), failures)\n",
        "",
        "sync evict threads",
    ),
    Mutant(
        "no sync lock",
        _SYNCING + "under_sync_lock",
        "            range_wait.take(file.fd, file.path, range_lock.SYNC)\n",
        "",
        "sync kills",
    ),
    Mutant(
        "threads share the sync lock",
        _SYNCING + "under_sync_lock",
        "with file.sync_turn:",
        "if True:",
        "threads",
    ),
    Mutant(
        "prepare() syncs for itself",
        _WRITER + "_sync_room",
        "sync_all(self._file)",
        "disk.sync(self._file.fd, self._file.path)",
        "sync",
    ),
    Mutant(
        "only the own frame is confirmed",
        _DURABILITY + "confirm",
        "self.queue.make_durable(*promise)",
        "None",
        "cuts",
    ),
    # -- appending
    Mutant(
        "APPENDED before the frame",
        _WRITER + "_write",
        "        self._writing = True\n",
        "        self._writing = True\n        self._words_of_file.put(3, end)\n",
        "kills",
    ),
    Mutant(
        "APPENDED is not stored",
        _WRITER + "_tell_end",
        "data = encode_word(APPENDED, end)\n            disk",
        "data = encode_word(APPENDED, appended.told)\n            disk",
        "",
    ),
    Mutant(
        "LOOSE passes what is undecided",
        _WRITER + "_tell_end",
        "not self._sync and appended.shown >= appended.told",
        "not self._sync",
        "loose threads",
    ),
    Mutant(
        "an instance that syncs stores LOOSE",
        _WRITER + "_tell_end",
        "not self._sync and appended.shown >= appended.told",
        "appended.shown >= appended.told",
        "cuts",
    ),
    Mutant(
        "recovery believes APPENDED",
        _RECOVERY + "recover",
        "    said = decode_words(words.all())\n    durable",
        "    said = decode_words(words.all())\n"
        "    end = min(end, said.appended or end)\n    durable",
        "cuts kills",
    ),
    Mutant(
        "nothing is put right after a holder",
        _WRITER + "start",
        "            self._adopt()\n",
        "            pass\n",
        "kills",
    ),
    Mutant(
        "a torn frame is not cut off",
        _WRITER + "_adopt",
        "            self._cut()\n",
        "            pass\n",
        "kills clock",
    ),
    Mutant(
        "a torn frame is not cut off after an error",
        _WRITER + "_write",
        "            self._cut()\n",
        "            pass\n",
        "full",
    ),
    Mutant(
        "the place is kept after a repair",
        _APPENDED + "_go_back",
        "        self.place = tail\n",
        "",
        "sync evict",
    ),
    Mutant(
        "what was known is not forgotten after a repair",
        _APPENDED + "catch_up",
        "failures != self.failures or ",
        "",
        "sync evict",
    ),
    Mutant("nothing is repaired", _APPENDED + "_put_right", "repair(self._log)", "pass", "sync"),
    Mutant(
        "the name is not synced",
        _APPENDED + "_put_right",
        "disk.sync_directory(self.file.path)",
        "pass",
        "cuts",
    ),
    Mutant(
        "unseen is empty",
        _WRITER + "start",
        "self.unseen = appended.transactions[:]",
        "self.unseen = []",
        "threads",
    ),
    Mutant(
        "the page is not synced",
        _FILE + "log_file:LogFile._sync_page",
        "disk.sync(self.fd, self.path)",
        "pass",
        "cuts loose",
    ),
    # -- reading
    Mutant(
        "a reader does not sync",
        _READABLE + "_certain_end",
        "disk.sync(fd, self.path)",
        "pass",
        "cuts kills",
    ),
    Mutant(
        "a reader believes its cache",
        _READABLE + "_certain_end",
        "disk.drop_cache(fd, PAGE_SIZE)",
        "pass",
        "sync kills",
    ),
    Mutant(
        "a reader believes the words",
        _READABLE + "_is_writer_there",
        "found == range_lock.SHARED",
        "True",
        "cuts",
    ),
    Mutant(
        "a reader that found the end believes the words",
        _READABLE + "_visible",
        "block[:SEEN_SIZE] in (self.applied.seen, self._outdated)",
        "False",
        "cuts",
    ),
    Mutant(
        "states are not verified",
        "dobbin_like.log.reading.chain:whole_frames",
        "            verify(buffer, tail, frame)\n",
        "",
        "cuts",
    ),
    Mutant(
        "checksums are not compared",
        "dobbin_like.log.reading.reader:_read_frame",
        "if found != checksum:",
        "if False:",
        "cuts",
    ),
    # -- packing
    Mutant(
        "the old file is not marked",
        "dobbin_like.log.copies.packed_log:PackedLog.replace_by",
        "words.put(STATE, REPLACED)",
        "pass",
        "pack",
    ),
    Mutant(
        "a packed log is not complete",
        "dobbin_like.log.copies.new_log:NewLog.complete",
        "        self.sync()\n",
        "        pass\n",
        "pack cuts",
    ),
    Mutant(
        "the name of a packed log counts as synced",
        "dobbin_like.log.copies.new_log:NewLog.complete",
        "        words.put(DURABLE, *[self.tail.end] * 4)\n",
        "        words.put(DURABLE, *[self.tail.end] * 4)\n        words.put(0, 0)\n",
        "pack kills cuts",
    ),
    # -- threads of one instance, of which one follows to a packed log
    Mutant(
        "who gives way looks at the file that another thread follows to",
        _WRITABLE + "_give_way",
        "self._size_at_path(file)",
        "self._size_at_path(self.log.file)",
        "pack threads",
    ),
    Mutant(
        "who follows forgets what another thread writes",
        _WRITABLE + "_follow_to",
        "        self.lock.rebind(self.writer.forget)\n",
        "        self.lock.rebind(lambda: None)\n        self.writer.forget()\n",
        "pack threads stops",
    ),
    Mutant(
        "a writer knows the old file in the new one",
        _WRITER + "start",
        "if self._file is not self._log.file:",
        "if False:",
        "pack threads",
    ),
)
