# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""shutdown, poweroff, reboot and halt of a simulated instance: asks its init, as systemd's ask logind."""

from __future__ import annotations

import os
import re
import socket
import sys
import time

SOCKET = "/run/lab-init.sock"
MODES = {"-h": "poweroff", "-P": "poweroff", "--poweroff": "poweroff", "-H": "halt", "--halt": "halt", "-r": "reboot",
         "--reboot": "reboot"}  # fmt: skip
IGNORED = ("-f", "--force", "-w", "--no-wall", "-n", "--no-sync", "-d", "--no-wtmp", "-p")
USAGE = "shutdown [-h|-P|-H|-r|-c|--show] [now|+MINUTES|HH:MM] [MESSAGE]"


def due_s(when: str, now_s: float) -> float:
    """Return when `now`, `+MINUTES` or `HH:MM` is, in seconds since the epoch. Raises ValueError."""
    if when == "now":
        return now_s
    if re.fullmatch(r"\+?[0-9]+", when):
        return now_s + 60 * int(when.lstrip("+"))
    clock = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", when)
    if not clock or int(clock[1]) > 23 or int(clock[2]) > 59:
        raise ValueError(f"Failed to parse time specification: {when}")
    today = time.localtime(now_s)
    moment_s = time.mktime((*today[:3], int(clock[1]), int(clock[2]), 0, 0, 0, -1))
    return moment_s if moment_s > now_s else moment_s + 86400


def request(program: str, arguments: list[str], now_s: float) -> str:
    """Return the line to send to the init. Raises ValueError for arguments that make no sense."""
    mode = program if program in ("reboot", "halt") else "poweroff"
    times = []
    for argument in arguments:
        if argument in ("-c", "--cancel"):
            return "cancel"
        if argument == "--show":
            return "show"
        if argument in MODES:
            mode = MODES[argument]
        elif argument.startswith("-") and argument not in IGNORED:
            raise ValueError(f"unknown option {argument}; {USAGE}")
        elif not argument.startswith("-"):
            times.append(argument)
    if program != "shutdown":
        return f"now {mode}"
    due = due_s(times[0] if times else "+1", now_s)
    return f"now {mode}" if due <= now_s else f"schedule {mode} {int(due * 1_000_000)}"


def main() -> int:
    try:
        line = request(os.path.basename(sys.argv[0]), sys.argv[1:], time.time())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if os.geteuid() != 0:
        print("Interactive authentication required.", file=sys.stderr)
        return 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(SOCKET)
        connection.sendall(line.encode() + b"\n")
        answer = connection.makefile().read()
    print(answer, end="", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
