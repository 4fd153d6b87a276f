# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's control socket, against a small server that speaks as QEMU does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_region.machine.qmp import Qmp, QmpError

GREETING = {"QMP": {"version": {}, "capabilities": []}}


class FakeQemu(threading.Thread):
    """Answers each command with its name, `refused` with an error, and `silent` not at all; `quit` ends it."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(1)

    def run(self) -> None:
        connection, _address = self.server.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as stream:

            def tell(message: dict) -> None:
                stream.write(json.dumps(message) + "\r\n")
                stream.flush()

            tell(GREETING)
            for line in stream:
                asked = json.loads(line)
                if asked["execute"] == "quit":
                    tell({"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-qmp-quit"}})
                    return
                if asked["execute"] == "refused":
                    tell({"error": {"class": "GenericError", "desc": "not now"}, "id": asked["id"]})
                elif asked["execute"] != "silent":
                    tell({"event": "RTC_CHANGE", "data": {"offset": 1}})
                    tell({"return": {"did": asked["execute"]}, "id": asked["id"]})
        self.server.close()


@pytest.fixture
def connected(tmp_path) -> Iterator[tuple[Qmp, list[tuple[str, dict]], threading.Thread]]:
    FakeQemu(tmp_path / "qmp").start()
    events: list[tuple[str, dict]] = []
    qmp = Qmp(lambda name, data: events.append((name, dict(data))))
    qmp.connect(tmp_path / "qmp", lambda: True)
    reader = threading.Thread(target=qmp.read_events)
    reader.start()
    yield qmp, events, reader
    if reader.is_alive():
        with pytest.raises(QmpError):
            qmp.do("quit")
    reader.join(60)
    assert not reader.is_alive()


def test_answers_and_events_are_told_apart(connected):
    qmp, events, _reader = connected
    assert qmp.do("query-status") == {"did": "query-status"}
    assert ("RTC_CHANGE", {"offset": 1}) in events


def test_a_refusal_is_an_error_with_its_words(connected):
    with pytest.raises(QmpError, match="refused: not now"):
        connected[0].do("refused")


def test_no_answer_is_an_error_and_the_next_command_is_answered(connected):
    qmp = connected[0]
    with pytest.raises(QmpError, match="silent"):
        qmp.do("silent", timeout_s=0.05)
    assert qmp.do("stop") == {"did": "stop"}


def test_the_end_of_qemu_ends_all(connected):
    qmp, events, reader = connected
    with pytest.raises(QmpError, match="gone"):
        qmp.do("quit")
    reader.join(60)
    assert events[-1] == ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
    with pytest.raises(QmpError, match="gone"):
        qmp.do("query-status")


def test_qemu_that_ended_is_not_waited_for(tmp_path):
    with pytest.raises(QmpError, match="has ended"):
        Qmp(print).connect(tmp_path / "none", lambda: False)
    with pytest.raises(QmpError, match="within"):
        Qmp(print).connect(tmp_path / "none", lambda: True, timeout_s=0.05)
