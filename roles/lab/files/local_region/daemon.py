# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that is the lab while it is up, and the record by which others find it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

from local_region.hosts.processes import ProcessId
from local_region.settings import Settings

_LOG = logging.getLogger("lab")
_LOOK_S = 5.0


@dataclass(frozen=True)
class Record:
    """What a lab that is up wrote down of itself."""

    process: ProcessId
    endpoint_url: str
    endpoints: list[dict[str, Any]]
    settings: Settings
    ended_parts: list[str]

    @classmethod
    def load(cls, state_dir: str) -> Record | None:
        """Read the record of a lab, whether its process still runs or not; None when there is none."""
        try:
            with open(_record_path(state_dir), encoding="utf-8") as file:
                given = json.load(file)
        except FileNotFoundError:
            return None
        return cls(
            process=ProcessId(given["pid"], given["start_ticks"]),
            endpoint_url=given["endpoint_url"],
            endpoints=given["endpoints"],
            settings=Settings.from_mapping(given["settings"]),
            ended_parts=given["ended_parts"],
        )

    def save(self, state_dir: str) -> None:
        """Write the record as a whole. Raises OSError."""
        given = {
            "pid": self.process.pid,
            "start_ticks": self.process.start_ticks,
            "endpoint_url": self.endpoint_url,
            "endpoints": self.endpoints,
            "settings": json.loads(self.settings.to_json()),
            "ended_parts": self.ended_parts,
        }
        draft = f"{_record_path(state_dir)}.new"
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(given, file)
        os.replace(draft, _record_path(state_dir))


def _record_path(state_dir: str) -> str:
    return os.path.join(state_dir, "daemon.json")


def serve(settings: Settings, ready_fd: int | None = None) -> int:
    """Be the lab until SIGTERM or SIGINT. One line of JSON on `ready_fd` says when it is up, or why it is not."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.umask(0o022)
    try:
        # Here and not above: it brings in moto, which the other commands need not wait for.
        from local_region.region import Region  # noqa: PLC0415

        region = Region(settings)
        url = region.start()
    except Exception as error:
        _LOG.exception("the lab did not come up")
        _tell(ready_fd, {"error": _one_line(error)})
        return 1
    process = ProcessId.of(os.getpid())
    if process is None:
        raise RuntimeError("/proc does not show this process")
    try:
        record = Record(process, url, region.endpoints, settings, [])
        record.save(settings.state_dir)
        _tell(ready_fd, {"endpoint_url": url})
        _wait(stop, region, record)
    finally:
        _LOG.info("stopping")
        region.stop()
    return 0


def _wait(stop: threading.Event, region: Any, record: Record) -> None:
    """Wait for the end, and write down when a part of the lab has gone."""
    known: list[str] = []
    while not stop.wait(_LOOK_S):
        ended = region.ended_parts()
        if ended != known:
            _LOG.error("ended by itself: %s", ", ".join(ended))
            known = ended
            Record(record.process, record.endpoint_url, record.endpoints, record.settings, ended).save(
                record.settings.state_dir
            )


def _tell(descriptor: int | None, message: dict[str, str]) -> None:
    if descriptor is not None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
