# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the guardian of a round, a program of its own session that outlives the round's worker.

It is told everything over its standard input, one JSON object a line, credentials too, so that its arguments and its
environment hold nothing. While the worker lives it waits, and needs the standard library alone. When its input closes
without a goodbye, it ends what the worker had started, finishes or undoes the round, and writes
C(interrupted_<round>.json).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import types
import typing as t

#: Seconds that all acts may take, and that a worker whose pipe has closed may take to be gone.
ACTS_S = 60
GONE_S = 10.0

#: What tells the guardian's own calls from those of the controller.
USER_AGENT = "lowlatency.ec2-guardian"

SCHEDULED = "/run/systemd/shutdown/scheduled"

Document = dict[str, t.Any]


class OutOfTime(BaseException):
    """The acts took too long: what is done is told, what is left is for the next run."""


class Told:
    """What the worker has said so far."""

    def __init__(self) -> None:
        self.job: Document = {}
        self.intent: Document = {}
        self.goodbye = False
        self.handed_over = False

    def hear(self, line: bytes) -> None:
        """Take a line; one that was cut short by the worker's end says nothing."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        self.job = said.get("job", self.job)
        self.intent = said.get("intent", self.intent)
        self.goodbye = self.goodbye or "goodbye" in said
        self.handed_over = self.handed_over or "hand_over" in said

    @property
    def over(self) -> bool:
        """Whether there is nothing more to listen for."""
        return self.goodbye or self.handed_over


def listen(descriptor: int, clock: t.Callable[[], float] = time.monotonic) -> tuple[Told, bool]:
    """Listen until the worker has said goodbye, handed over or ended; false when the time was up before."""
    told, rest, began_s = Told(), b"", clock()
    while not told.over:
        patience_s = float(told.job.get("patience_s", 60)) - (clock() - began_s)
        ready, _writing, _failed = select.select([descriptor], [], [], max(0.0, min(patience_s, 600.0)))
        if not ready:
            if patience_s <= 0:
                return told, False
            continue
        data = os.read(descriptor, 65536)
        if not data:
            return told, True
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told.hear(line)
    return told, True


def fields_of(pid: str) -> list[str] | None:
    """From the third field on, of C(/proc/PID/stat): state, parent, group, session; start is the twentieth of them."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def lives(pid: int, ticks: int) -> bool:
    """Whether the process of this id that was started at this tick is still there."""
    fields = fields_of(str(pid))
    return fields is not None and fields[0] not in "ZX" and int(fields[19]) == ticks


def end_started_by(pid: int, ticks: int) -> list[int]:
    """Kill what a dead worker had started: a module that it waited for would go on calling EC2.

    The worker led its session and its process group; a group of this number that another process leads is not its.
    """
    if pid <= 1 or lives(pid, ticks):
        return []
    leader = fields_of(str(pid))
    if leader is not None and leader[0] not in "ZX":
        return []
    ended = []
    for name in os.listdir("/proc"):
        fields = fields_of(name) if name.isdigit() else None
        if fields is None or int(name) == os.getpid() or fields[0] in "ZX":
            continue
        if int(fields[2]) == pid and int(fields[3]) == pid and int(fields[19]) >= ticks:
            os.kill(int(name), signal.SIGKILL)
            ended.append(int(name))
    return ended


def wait_until_gone(pid: int, ticks: int, most_s: float = GONE_S) -> bool:
    """Wait until the worker is gone, as it is a moment after its pipe has closed."""
    until_s = time.monotonic() + most_s
    while lives(pid, ticks):
        if time.monotonic() >= until_s:
            return False
        time.sleep(0.05)
    return True


def find_collections(paths: t.Sequence[str]) -> None:
    """Let C(ansible_collections) be found where the worker found it, without Ansible's own finder."""
    package = types.ModuleType("ansible_collections")
    package.__path__ = list(paths)
    sys.modules["ansible_collections"] = package


def ssh_command(access: t.Mapping[str, str], instance_id: str, address: str) -> list[str]:
    """The command that takes the dead-man timer off a candidate, with the host key that its round has kept."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ControlPath": "none",
        "HashKnownHosts": "no",
        "HostKeyAlias": instance_id,
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": os.path.join(access["known_hosts"], instance_id),
    }
    told = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    where = f"{access['user']}@{address}"
    return ["ssh", "-i", access["key_path"], *told, where, f"sudo -n shutdown -c && ! test -e {SCHEDULED}"]


def timer_canceller(access: t.Mapping[str, str]) -> t.Callable[[t.Mapping[str, t.Any]], str | None]:
    """Takes the dead-man timer off the candidate of a promotion; tells why when it could not."""

    def cancel(promotion: t.Mapping[str, t.Any]) -> str | None:
        command = ssh_command(access, promotion["record"]["instance_id"], promotion["address"])
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"its dead-man timer is still set: {error}"
        told = done.stderr.decode(errors="replace").strip()
        return None if done.returncode == 0 else f"its dead-man timer is still set: {told or done.returncode}"

    return cancel


def act(told: Told) -> None:
    """Finish or undo the round, and write the report, whatever happens."""
    sys.path[:] = told.job["python_path"]
    find_collections(told.job["collections"])
    os.environ.update(told.job["environment"])
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.report import (  # noqa: PLC0415
        end_round,
    )

    end_round(told.job, told.intent, timer_canceller(told.job["access"]), OutOfTime)


def _alarm(_signal: int, _frame: t.Any) -> t.NoReturn:
    raise OutOfTime


def main() -> int:
    """Wait for the worker's end, then act once."""
    told, in_time = listen(sys.stdin.fileno())
    if told.goodbye or not told.intent or not in_time:
        # A worker that has hung for longer than its candidate may live: the candidate has ended itself by now.
        return 0
    worker = told.job["worker"]
    if not told.handed_over:
        if not wait_until_gone(worker["pid"], worker["start_ticks"]):
            return 1
        end_started_by(worker["pid"], worker["start_ticks"])
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(ACTS_S)
    act(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
