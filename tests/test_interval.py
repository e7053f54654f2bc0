"""The interval file: whole, durable and last-writer-wins under any number of writers, honest about damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from app import interval
from app.interval import CRON_EXPRESSIONS, CronConfig, IntervalFileDamaged, Reader, read, save
from tests.processes import until

NOW = datetime(2026, 11, 23, 7, tzinfo=UTC)
NAMES = list(CRON_EXPRESSIONS)
WRITERS = 4
SAVES_EACH = 50


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / interval.FILE_NAME


def put(path: Path, value: str, by: str = "admin") -> CronConfig:
    return save(path, value, updated_by=by, now=NOW)


def test_the_file_says_what_who_and_when(path: Path) -> None:
    put(path, "5min")
    assert json.loads(path.read_text()) == {
        "interval": "5min",
        "updatedAt": "2026-11-23T07:00:00Z",
        "updatedBy": "admin",
    }
    assert read(path) == CronConfig("5min", "2026-11-23T07:00:00Z", "admin")


def test_without_a_file_the_default_holds_and_nothing_is_written(path: Path) -> None:
    assert read(path) == CronConfig("20min")
    assert list(path.parent.iterdir()) == []


def test_a_save_tells_what_was_there_before(path: Path) -> None:
    assert put(path, "5min").interval == "20min"
    assert put(path, "1hour").interval == "5min"


def test_each_save_is_later_than_the_one_it_replaces(path: Path) -> None:
    times = []
    for seconds in (0, 0, 0, 1, 0, 2):
        save(path, "5min", updated_by="admin", now=NOW + timedelta(seconds=seconds))
        times.append(str(read(path).updated_at))
    assert times[:2] == ["2026-11-23T07:00:00Z", "2026-11-23T07:00:00.000001Z"]
    assert times[3:] == ["2026-11-23T07:00:01Z", "2026-11-23T07:00:01.000001Z", "2026-11-23T07:00:02Z"]


def test_a_time_that_lies_far_ahead_is_not_gone_on_from(path: Path) -> None:
    save(path, "5min", updated_by="admin", now=NOW + timedelta(minutes=3))
    put(path, "1hour")
    assert read(path).updated_at == "2026-11-23T07:00:00Z"


def test_several_changes_at_once_follow_each_other(path: Path) -> None:
    put(path, "5min")
    until = NOW + timedelta(hours=1)
    changes = [
        interval.wanted("disabled", updated_by="a", now=NOW, disabled_until=until),
        interval.wanted("disabled", updated_by="b", now=NOW, disabled_until=until),
    ]
    with interval.replacing(path, changes) as before:
        assert [each.in_words for each in before] == ["5min", "disabled until 2026-11-23T08:00:00Z"]
        assert read(path).interval == "5min"
    found = json.loads(path.read_text())
    assert (found["updatedBy"], found["resumeInterval"]) == ("b", "5min")


@pytest.mark.parametrize("value", NAMES)
def test_every_interval_can_be_saved_and_read(path: Path, value: str) -> None:
    put(path, value)
    found = read(path)
    assert (found.interval, found.enabled) == (value, value != "disabled")
    assert found.cron_expression == CRON_EXPRESSIONS[value]


@pytest.mark.parametrize("value", ["7min", "", "5MIN", "constructor", " 5min", "5min\n"])
def test_what_is_no_interval_is_never_written(path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="no interval"):
        put(path, value)
    assert not path.exists()


# Content of every kind of accident: cut off, emptied, overwritten, edited wrongly.
DAMAGED = {
    "empty": b"",
    "cut off": b'{"interval": "20mi',
    "binary": bytes(range(256)),
    "zeros after a power cut": b"\0" * 100,
    "not an object": b'["20min"]',
    "no interval": b"{}",
    "unknown interval": b'{"interval": "7min"}',
    "interval of another type": b'{"interval": ["20min"]}',
    "null": b'{"interval": null}',
    "nested too deeply": b"[" * 60_000,
    "two objects": b'{"interval": "20min"}{"interval": "5min"}',
    "endless": b" " * 100_000 + b'{"interval": "20min"}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_an_error_and_never_a_default(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(IntervalFileDamaged):
        read(path)
    with pytest.raises(IntervalFileDamaged):
        Reader(path).read()
    assert path.read_bytes() == content


def test_saving_repairs_a_damaged_file(path: Path) -> None:
    path.write_bytes(b"\0")
    assert put(path, "10min").interval == "20min"
    assert read(path).interval == "10min"


def test_a_folder_in_place_of_the_file_is_an_error_and_leaves_nothing_behind(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        read(path)
    with pytest.raises(OSError, match="directory"):
        put(path, "5min")
    assert sorted(each.name for each in path.parent.iterdir()) == ["cron.json", "cron.lock"]


def _write_many(path: Path, writer: int) -> None:
    for number in range(SAVES_EACH):
        put(path, NAMES[(writer + number) % len(NAMES)], f"writer {writer} save {number:03}")


def _is_whole(raw: bytes) -> bool:
    content = json.loads(raw)
    return set(content) == {"interval", "updatedAt", "updatedBy"} and content["interval"] in NAMES


def _read_until(path: Path, stop: threading.Event, seen: list[bytes]) -> None:
    while not stop.is_set():
        seen.append(path.read_bytes())


def test_readers_see_whole_files_only_while_four_processes_save_200_times(path: Path) -> None:
    put(path, "20min", "before")
    stop, seen = threading.Event(), list[bytes]()
    reader = threading.Thread(target=_read_until, args=(path, stop, seen))
    # spawn: processes that share nothing with this one but the file.
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, each)) for each in range(WRITERS)]
    reader.start()
    try:
        for each in writers:
            each.start()
        for each in writers:
            each.join(60)
    finally:
        stop.set()
        reader.join()
        for each in writers:
            each.kill()
    assert [each.exitcode for each in writers] == [0] * WRITERS
    assert all(_is_whole(raw) for raw in set(seen))
    assert len(set(seen)) > WRITERS, "the reader has to see the file change, or this proves nothing"
    _assert_each_writer_moves_forward(seen)
    assert read(path).updated_by in {f"writer {each} save {SAVES_EACH - 1:03}" for each in range(WRITERS)}
    assert sorted(each.name for each in path.parent.iterdir()) == ["cron.json", "cron.lock"]


def _assert_each_writer_moves_forward(seen: list[bytes]) -> None:
    """What has been replaced never comes back."""
    newest: dict[str, str] = {}
    for raw in seen:
        writer, _save, number = json.loads(raw)["updatedBy"].partition(" save ")
        assert number >= newest.get(writer, ""), "an older save came back"
        newest[writer] = number


def test_threads_are_kept_apart_and_every_change_is_told_once(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(lambda number: put(path, "5min", f"save {number}").updated_by, range(80)))
    # A chain: each save names the one before it, none twice, and only the last is named by nobody.
    assert len(set(before)) == 80
    everyone = {f"save {number}" for number in range(80)} | {None}
    assert everyone - set(before) == {read(path).updated_by}


def test_a_save_that_has_returned_is_what_the_next_read_sees(path: Path) -> None:
    reader = Reader(path)
    for number in range(50):
        put(path, NAMES[number % len(NAMES)], str(number))
        assert read(path).updated_by == reader.read().updated_by == str(number)


def test_the_reader_notices_a_change_made_by_another_process(path: Path) -> None:
    reader = Reader(path)
    put(path, "5min")
    assert reader.read().interval == "5min"
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=put, args=(path, "1hour"))
    other.start()
    until(lambda: reader.read().interval == "1hour", "the reader to notice")
    other.join(30)


def test_the_reader_notices_a_file_of_the_same_size_in_the_same_tick_of_the_clock(path: Path) -> None:
    """An inode may be used again and a tick lasts milliseconds: identity, time and size can all repeat."""
    put(path, "10min")
    reader, status = Reader(path), path.stat()
    assert reader.read().interval == "10min"
    path.write_text(path.read_text().replace("10min", "15min"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reader.read().interval == "15min"


def test_the_reader_does_not_open_a_file_that_has_been_quiet(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, "10min")
    reader = Reader(path)
    with time_machine.travel(time.time() + 3600):
        first = reader.read()
        monkeypatch.setattr(interval, "stored", pytest.fail)
        assert reader.read() is first


def test_mended_permissions_count_as_a_new_version_of_the_file(path: Path) -> None:
    put(path, "10min")
    reader = Reader(path)
    path.chmod(0)
    before = reader.stamp()
    path.chmod(0o600)
    assert reader.stamp() != before


def test_the_reader_notices_that_the_file_is_gone_damaged_and_back(path: Path) -> None:
    reader = Reader(path)
    put(path, "1hour")
    assert reader.read().interval == "1hour"
    path.unlink()
    assert reader.read().interval == "20min"
    path.write_bytes(b"{")
    with pytest.raises(IntervalFileDamaged):
        reader.read()
    put(path, "2hours")
    assert reader.read().interval == "2hours"
