# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine's process is started and asked, with a program in QEMU's place that answers as the monitor does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_region.machine import process
from local_region.machine.process import Machine, MachineError
from local_region.machine.qmp import QmpError
from local_region.machine.spec import MachineSpec, Seed

SEED = Seed("i-1", "ip-198-18-0-16", "admin", "ssh-ed25519 AAAA", "02:00:c6:12:00:10", "198.18.0.16/22")
#: Greets at the socket, writes down what it is asked, and refuses to save a state that is named `nvme`.
PROGRAM = """
import json, socket, sys
path, state, asked = sys.argv[1:]
if state == "missing":
    sys.exit("no such state")
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(1)
stream = server.accept()[0].makefile("rw")
print(json.dumps({"QMP": {}}), file=stream, flush=True)
for line in stream:
    command = json.loads(line)
    with open(asked, "a") as file:
        file.write(json.dumps([command["execute"], command.get("arguments", {})]) + "\\n")
    refused = "nvme" in command.get("arguments", {}).get("command-line", "")
    said = "State blocked by non-migratable device\\r\\n" if refused else ""
    print(json.dumps({"return": said, "id": command["id"]}), file=stream, flush=True)
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what the program in QEMU's place was asked."""
    path = tmp_path / "asked"

    def command(spec: MachineSpec, state: str = "") -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(spec.qmp_socket), state, str(path)]

    monkeypatch.setattr(process, "command", command)
    return path


@pytest.fixture
def machine(tmp_path: Path, asked: Path) -> Iterator[Machine]:
    made = Machine(MachineSpec("m", tmp_path, SEED, "ll0-vpc", "tap0"))
    yield made
    made.kill()


def test_a_state_is_saved_by_its_name(machine: Machine, asked: Path) -> None:
    machine.start()
    machine.save("booted")
    last = json.loads(asked.read_text(encoding="utf-8").splitlines()[-1])
    assert last == ["human-monitor-command", {"command-line": "savevm booted"}]


def test_what_the_monitor_says_of_a_state_that_it_cannot_save_is_an_error(machine: Machine) -> None:
    machine.start()
    with pytest.raises(QmpError, match="savevm nvme: State blocked by non-migratable device"):
        machine.save("nvme")


def test_a_machine_that_is_off_has_no_state(machine: Machine) -> None:
    with pytest.raises(QmpError, match="does not run"):
        machine.save("booted")


def test_a_state_that_is_not_there_is_an_error_with_the_words_of_qemu(machine: Machine) -> None:
    with pytest.raises(MachineError, match="no such state"):
        machine.start("missing")
    assert not machine.running
