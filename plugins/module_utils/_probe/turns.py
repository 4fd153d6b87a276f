# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same probe again and again, each time when its turn has come, so that two hosts can measure in alternation.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .plan import BadOption, Plan
from .run import ProgressFile, run_probe

MOST_TURNS = 64

# What is still to come in an hour is no turn in an alternation.
LONGEST_WAIT_S = 3_600.0

# How often a wait looks whether it is to end early, in seconds.
LOOK_S = 0.05

_KEPT_OF_ENDPOINT = ("name", "host", "port")
_KEPT_OF_ADDRESS = ("address", "samples", "errors", "dropped", "wall", "wire")


def checked_turns(turns: Sequence[float], now_s: float) -> tuple[float, ...]:
    """The times of the turns, in seconds since the epoch. Raises BadOption unless they follow each other and are near.

    One that has passed is no error: it is made up for at once.
    """
    if not 1 <= len(turns) <= MOST_TURNS:
        raise BadOption("turns", len(turns), f"is not between 1 and {MOST_TURNS} turns")
    for index, at_s in enumerate(turns):
        if not math.isfinite(at_s) or abs(at_s - now_s) > LONGEST_WAIT_S:
            raise BadOption(f"turns[{index}]", at_s, f"is not within an hour of {now_s:.0f}, the time on this host")
        if index and at_s <= turns[index - 1]:
            raise BadOption(f"turns[{index}]", at_s, "is not after the turn before it")
    return tuple(turns)


def turn_result(probe: Mapping[str, Any], began_s: float, late_s: float) -> dict[str, Any]:
    """What is kept of the probe of one turn: when it began, how late that was, and the figures of each address."""
    endpoints = [
        {
            **{key: endpoint[key] for key in _KEPT_OF_ENDPOINT},
            "addresses": [{key: address[key] for key in _KEPT_OF_ADDRESS} for address in endpoint["addresses"]],
        }
        for endpoint in probe["endpoints"]
    ]
    return {
        "began_s": round(began_s, 3),
        "late_s": round(late_s, 3),
        "duration_s": probe["duration_s"],
        "handshakes": probe["handshakes"],
        "endpoints": endpoints,
    }


def run_turns(
    plan: Plan,
    turns: Sequence[float],
    stop_path: str | None,
    *,
    clock_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    probe: Callable[[Plan], dict[str, Any]] = run_probe,
) -> list[dict[str, Any]]:
    """Measure as planned at each of these times, until there is something at stop_path; the turns that were made.

    A turn that comes late begins at once. The plan's progress file always holds C({stage, turns}) with those so far.
    Raises what run_probe raises.
    """
    progress = ProgressFile(plan.progress_path)
    once = replace(plan, progress_path=None)
    made: list[dict[str, Any]] = []
    progress.write({"stage": "turns", "turns": made})
    for due_s in turns:
        while (left_s := due_s - clock_s()) > 0 and not _to_stop(stop_path):
            sleep(min(left_s, LOOK_S))
        if _to_stop(stop_path):
            break
        began_s = clock_s()
        made.append(turn_result(probe(once), began_s, began_s - due_s))
        progress.write({"stage": "turns", "turns": made})
    return made


def _to_stop(path: str | None) -> bool:
    return path is not None and os.path.exists(path)
