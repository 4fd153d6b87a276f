# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the files that a search leaves for people, under C(search_reports_dir).

Each is rolled over by UTC day: C(latency_DAY.csv), C(latency_DAY.jsonl), C(latency_log_DAY.txt) and
C(champion_log_DAY.txt). Whatever comes in, a line of them is one line (L(_plain_text)). Slots write at once from
processes of their own, so every append is one write under one lock, and is on the disk before it is reported as done.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import math
import os
import tempfile
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import plain
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import anchor_hits, endpoints_of
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.champion_log import (
    event_blocks,
    finished_blocks,
    lost_blocks,
    tells_of,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import log_lines, passed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.table import csv_columns, csv_row, csv_text

LOCK_NAME = ".reports.lock"

#: Numbered CSV files of one day that are looked at before giving up.
MOST_FILES_A_DAY = 1000

Result = Mapping[str, t.Any]


class ReportsError(ValueError):
    """Results cannot be kept; the message is one line that names C(search_reports_dir) and the path."""


def check_writable(directory: str) -> None:
    """Make the directory if it is missing and try a file in it. Raises ReportsError."""
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\n")
    except OSError as error:
        raise ReportsError(f"search_reports_dir: {directory!r} is not writable: {error.strerror}") from error


def utc_now() -> datetime:
    """The time of day that champions lost are logged with."""
    return datetime.now(timezone.utc)


class Reports:
    """Appends rounds and champion events to the files of their day.

    The day of a round is that of its C(timestamp). With C(criteria) the CSV's C(passed) is taken from the figures
    themselves; without, from the verdict, which tells the same except for a champion of a search for several.
    """

    def __init__(
        self,
        directory: str,
        criteria: Criteria | Mapping[str, t.Any] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.directory = os.path.abspath(directory)
        self._criteria = Criteria.from_dict(criteria) if isinstance(criteria, Mapping) else criteria
        self._now = now

    def check_writable(self) -> None:
        """Raise ReportsError unless files can be made here."""
        check_writable(self.directory)

    def write_round(self, result: Result) -> None:
        """Append a round to the JSONL and the text log, and to the CSV if it was probed.

        A figure that is not finite is a missing one and becomes null. Raises ReportsError when a file cannot
        be written, TypeError for a value that JSON does not know.
        """
        day, result = _day_of(str(result["timestamp"])), plain(result)
        line = json.dumps(_jsonable(result), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._locked():
            if result.get("probe"):
                self._append_row(day, result)
            self._append(f"latency_{day}.jsonl", line)
            self._append(f"latency_log_{day}.txt", "\n".join(log_lines(result)) + "\n\n")

    def append_line(self, name: str, document: Result) -> None:
        """Append a document as one line to a file of its own. Raises as L(write_round) does."""
        line = json.dumps(_jsonable(plain(document)), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._locked():
            self._append(name, line)

    def read_lines(self, name: str) -> list[dict[str, t.Any]]:
        """The documents of such a file, none where there is no file. A line that a crash cut short is passed over."""
        try:
            with open(os.path.join(self.directory, name), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._error(name, error, "read") from error
        return documents_of(text)

    def write_event(self, result: Result) -> None:
        """Append what a round changed to the champion log: a block for each change, none for none."""
        self._append_blocks(_day_of(str(result["timestamp"])), event_blocks(plain(result)))

    def write_lost(self, state: Mapping[str, t.Any], instance_ids: Sequence[str]) -> None:
        """Append survivors that were found gone to the champion log. C(state) is the document that named them."""
        stamp = self._stamp()
        self._append_blocks(_day_of(stamp), lost_blocks(plain(state), instance_ids, stamp))

    def write_finished(self, promotion: Mapping[str, t.Any], state: Mapping[str, t.Any]) -> None:
        """Append what became of an interrupted round's promotion to the champion log, unless the round had told it.

        C(promotion) is that of the round's intent, C(state) the champion's document as it is now.
        """
        stamp, found = self._stamp(), promotion["record"]["instance_id"]
        if not any(tells_of(text, found) for text in self._champion_logs()):
            self._append_blocks(_day_of(stamp), finished_blocks(plain(promotion), plain(state), stamp))

    def _champion_logs(self) -> Iterator[str]:
        for path in glob.glob(os.path.join(glob.escape(self.directory), "champion_log_*.txt")):
            with open(path, encoding="utf-8", errors="replace") as file:
                yield file.read()

    def _stamp(self) -> str:
        return self._now().astimezone(timezone.utc).isoformat(timespec="seconds")

    def _append_blocks(self, day: str, blocks: Sequence[Sequence[str]]) -> None:
        if not blocks:
            return
        text = "".join("\n".join(block) + "\n" for block in blocks)
        with self._locked():
            self._append(f"champion_log_{day}.txt", text)

    def _append_row(self, day: str, result: Result) -> None:
        columns = csv_columns([str(endpoint["name"]) for endpoint in endpoints_of(result["probe"])])
        name, is_new = self._csv_file(day, csv_text(columns, [], header=True))
        self._append(name, csv_text(columns, [csv_row(result, self._passed(result))], header=is_new))

    def _passed(self, result: Result) -> bool:
        if self._criteria is None:
            return passed(result["verdict"])
        limits = result["limits"]
        statistic = limits.get("statistic", "best")
        return bool(anchor_hits(result["probe"], self._criteria, limits["metric"], limits["samples"], statistic))

    def _csv_file(self, day: str, header: str) -> tuple[str, bool]:
        """The first file of the day with that header, and whether it is still to be begun."""
        for number in range(1, MOST_FILES_A_DAY + 1):
            name = f"latency_{day}.csv" if number == 1 else f"latency_{day}_{number}.csv"
            begins = self._first_bytes(name, len(header.encode()))
            if not begins:
                return name, True
            if begins == header.encode():
                return name, False
        raise ReportsError(f"search_reports_dir: {self.directory!r} has {MOST_FILES_A_DAY} CSV files of {day} already")

    def _first_bytes(self, name: str, count: int) -> bytes:
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read(count)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._error(name, error) from error

    def _append(self, name: str, text: str) -> None:
        try:
            handle = os.open(os.path.join(self.directory, name), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _write_whole(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise self._error(name, error) from error

    def _error(self, name: str, error: OSError, what: str = "written") -> ReportsError:
        path = os.path.join(self.directory, name)
        return ReportsError(f"search_reports_dir: {path!r} cannot be {what}: {error.strerror}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            os.makedirs(self.directory, exist_ok=True)
            lock = os.open(os.path.join(self.directory, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._error(LOCK_NAME, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def documents_of(text: str) -> list[dict[str, t.Any]]:
    """The JSON objects of a file that holds one a line; a line that is none, such as one cut short, is left out."""
    found = []
    for line in text.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            found.append(document)
    return found


def _write_whole(handle: int, data: bytes) -> None:
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        # A crash cut the last line short: it is left as it is, and does not swallow this one.
        data = b"\n" + data
    written = os.write(handle, data)
    if written != len(data):
        # A full disk takes part of a line; taking it back leaves the file as it was.
        os.ftruncate(handle, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(handle)


def _day_of(timestamp: str) -> str:
    """The UTC day, C(YYYY-MM-DD), of an ISO 8601 time; one without an offset is taken for UTC."""
    moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d")


def _jsonable(value: t.Any) -> t.Any:
    """Mappings, sequences and numbers of Ansible's own types as JSON's; a float that is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
