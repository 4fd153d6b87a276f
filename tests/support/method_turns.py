# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes by several methods in turn, as a process of its own that can run in a namespace and on a CPU.

A way is a method of _probe.connectors, with C(+ports) behind it where its handshakes go round a few held source ports.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HELD_PORTS = 16


def ways_in_turn(
    address: str, ways: Sequence[str], *, prefix: Sequence[str], cpu: int, handshakes: int, turns: int, **given: int
) -> dict[str, list[dict[str, Any]]]:
    """By way, one entry a turn: ``{codes: {errno: count}, retransmits, ports, sleeps, time_wait, wall_us, wire_us,
    samples}``.

    codes is by the errno as text, C(0) for completed; ports is how many source ports were used; sleeps is how often the
    process gave its CPU away by itself, and time_wait how many sockets of the namespace were in TIME_WAIT at the end.
    The times are medians; they are None where nothing was completed. prefix is what
    goes before the command; given may hold port and timeout_ms. samples has ``[port, wall_ns, wire_us]`` of each
    completed handshake.
    """
    settings = {"address": address, "ways": ways, "cpu": cpu, "handshakes": handshakes, "turns": turns, **given}
    command = [*prefix, sys.executable, "-B", str(Path(__file__).resolve()), json.dumps(settings)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    shown: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return shown


def summary(outcomes: Sequence[Any]) -> dict[str, Any]:
    """What came of the handshakes of a turn."""
    made = [outcome for outcome in outcomes if outcome.code == 0 and outcome.retransmits == 0]
    return {
        "codes": Counter(str(outcome.code) for outcome in outcomes),
        "retransmits": sum(outcome.retransmits for outcome in outcomes),
        "ports": len({outcome.port for outcome in made}),
        "wall_us": statistics.median(one.wall_ns / 1_000 for one in made) if made else None,
        "wire_us": statistics.median(one.wire_us for one in made) if made else None,
        "samples": [[one.port, one.wall_ns, one.wire_us] for one in made],
    }


def time_wait() -> int:
    """Sockets in TIME_WAIT in this namespace: state 06 of the fourth field (proc_net_tcp in the kernel's docs)."""
    lines = Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[3] == "06" for line in lines)


def main(settings: Mapping[str, Any]) -> None:
    """Take the turns; the order of the ways goes on by one from turn to turn."""
    sys.path.insert(0, str(ROOT / ".venv" / "collections"))
    from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import connector  # noqa: PLC0415
    from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.source_ports import SourcePorts  # noqa: PLC0415

    os.sched_setaffinity(0, {settings["cpu"]})
    gc.disable()
    target = (settings["address"], settings.get("port", 443))
    held = SourcePorts(HELD_PORTS, random.Random(1).shuffle)
    ways = settings["ways"]
    connects = {}
    for way in ways:
        method, _plus, ports = way.partition("+")
        bind = held.bind if ports else None
        connects[way] = connector(method, settings.get("timeout_ms", 100), time.perf_counter_ns, bind)
    shown: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for turn in range(settings["turns"]):
        first = turn % len(ways)
        for way in [*ways[first:], *ways[:first]]:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            outcomes = [connects[way](target) for _handshake in range(settings["handshakes"])]
            sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
            shown[way].append({"sleeps": sleeps, "time_wait": time_wait(), **summary(outcomes)})
    held.close()
    print(json.dumps(shown))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
