# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loaded by every Python of a killed search: ends its controller at one of its writes of a state.

The test puts this folder on PYTHONPATH and says in KILLED_SEARCH which one: C(number when form), such as C(5 after
main KILL). Intents and the champion's document are counted, from 1 on, in the worker that writes them. With the number
0 nothing is ended, and each write adds a line to the file that stands in place of the form.
"""

from __future__ import annotations

import os
import signal

_told = os.environ.get("KILLED_SEARCH", "")
_rename = os.rename
_count = 0


def _kill(form: str) -> None:
    controller = os.getppid()
    os.kill(controller, signal.SIGHUP if form == "main HUP" else signal.SIGKILL)
    if form == "main and workers KILL":
        os.kill(os.getpid(), signal.SIGKILL)


def _counted(source: str, target: str, **options: int) -> None:
    global _count  # noqa: PLW0603
    folder, name = os.path.split(target)
    counts = os.path.basename(folder) == "rounds" or name == "champion_state.json"
    number, when, form = _told.split(" ", 2)
    _count += counts
    if counts and number == "0":
        with open(form, "a", encoding="utf-8") as counted:
            counted.write(f"{name}\n")
    strikes = counts and _count == int(number)
    if strikes and when == "before":
        _kill(form)
    _rename(source, target, **options)
    if strikes and when == "after":
        _kill(form)


if _told:
    os.rename = _counted  # type: ignore[assignment]
