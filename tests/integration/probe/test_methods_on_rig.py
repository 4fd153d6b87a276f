# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to connect against a path whose truth is known: see tests/support/syn_rig.py."""

from __future__ import annotations

import errno
import statistics
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.port_spread import port_rows, port_spread
from support.low import low_us
from support.method_turns import HELD_PORTS, ROOT, ways_in_turn
from support.syn_rig import Behaviour, SynRig, cpus, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

WAYS = ("blocking", "spin", "blocking+ports", "spin+ports")
ANSWERS, REFUSES, SILENT, NOWHERE = "198.19.248.11", "198.19.248.12", "198.19.248.13", "198.19.248.14"
HANDSHAKES, TURNS = 200, 8


@pytest.fixture(scope="module")
def turns() -> dict[str, list[dict[str, Any]]]:
    with SynRig({ANSWERS: Behaviour(100)}) as rig:
        shown = ways_in_turn(ANSWERS, WAYS, prefix=rig.command([]), cpu=cpus()[0], handshakes=HANDSHAKES, turns=TURNS)
    for way, seen in shown.items():
        print(f"{way:15}", *(f"wall {turn['wall_us']:.1f} wire {turn['wire_us']:.0f};" for turn in seen))
    return shown


def walls_us(turn: dict[str, Any]) -> list[float]:
    return [wall_ns / 1_000 for _port, wall_ns, _wire_us in turn["samples"]]


def test_only_a_blocking_connect_sleeps(turns: dict[str, list[dict[str, Any]]]) -> None:
    for way in WAYS:
        slept = sum(turn["sleeps"] for turn in turns[way])
        if way.startswith("spin"):
            assert slept <= 0.05 * HANDSHAKES * TURNS
        else:
            # On a machine that is very busy an answer may be there before the sleep.
            assert slept >= 0.5 * HANDSHAKES * TURNS


def test_spin_saves_the_wake_up(turns: dict[str, list[dict[str, Any]]]) -> None:
    # The tenth of the handshakes that nothing else got in the way of: the spin's are shorter, and both have the path.
    least_us = {way: statistics.median(low_us(walls_us(turn)) for turn in turns[way]) for way in WAYS}
    print({way: round(least, 1) for way, least in least_us.items()})
    assert 100 <= least_us["spin"] < least_us["blocking"]
    assert 100 <= least_us["spin+ports"] < least_us["blocking+ports"]


@pytest.mark.parametrize("way", WAYS)
def test_wire_time_is_the_truth_by_every_way(turns: dict[str, list[dict[str, Any]]], way: str) -> None:
    wires_us = [wire_us for turn in turns[way] for _port, _wall_ns, wire_us in turn["samples"]]
    assert low_us(wires_us) == pytest.approx(100, abs=5)
    assert all(turn["wall_us"] >= turn["wire_us"] - 1 for turn in turns[way])


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_behind_and_ports_come_again(turns: dict[str, list[dict[str, Any]]], way: str) -> None:
    for turn in turns[way]:
        assert turn["time_wait"] == 0
        # An owner that was kept from its CPU for 100 ms is a timeout; a port that could not be had never is.
        assert set(turn["codes"]) <= {"0", str(errno.EINPROGRESS)}
        made = turn["codes"]["0"]
        assert made >= 0.5 * HANDSHAKES
        assert turn["ports"] == (HELD_PORTS if way.endswith("+ports") else made)


@pytest.mark.parametrize(
    ("address", "code"),
    [(REFUSES, errno.ECONNREFUSED), (SILENT, errno.EINPROGRESS), (NOWHERE, errno.EHOSTUNREACH)],
    ids=["refuses", "silent", "nowhere"],
)
def test_failures_are_the_same_by_every_way(address: str, code: int) -> None:
    behaviours = {REFUSES: Behaviour(100, refuse=True), SILENT: Behaviour(silent_after=0)}
    with SynRig(behaviours) as rig:
        route = ["ip", "-n", rig.name, "route", "add", "unreachable", NOWHERE]
        subprocess.run(route, check=True)
        # Four times as long as the owner needs at most when it has to share its CPU.
        shown = ways_in_turn(
            address, WAYS, prefix=rig.command([]), cpu=cpus()[0], handshakes=4, turns=1, timeout_ms=400
        )
    for way in WAYS:
        assert shown[way][0]["codes"] == {str(code): 4}
        assert shown[way][0]["wire_us"] is None


@pytest.mark.parametrize("slow_port_us", [8.0, 0.0], ids=["two ways", "one way"])
def test_ways_by_port_show_where_ports_are_held_and_nowhere_else(slow_port_us: float) -> None:
    # Every third port goes a longer way.
    behaviour = Behaviour(100, slow_port_us=slow_port_us, slow_port_every=3 if slow_port_us else 0)
    with SynRig({ANSWERS: behaviour}) as rig:
        shown = ways_in_turn(
            ANSWERS, ["spin+ports", "spin"], prefix=rig.command([]), cpu=cpus()[0], handshakes=960, turns=1
        )
    ports, wall_ns, wire_us = zip(*shown["spin+ports"][0]["samples"])
    rows = port_rows(ports, wall_ns, wire_us)
    spread = port_spread(ports, wire_us)
    print(spread, *(f"{row['bucket']} {row['wire_us']:.0f};" for row in rows))
    assert spread is not None
    ways = {row["bucket"] % 3 == 0 for row in rows} if slow_port_us else {False}
    assert spread["beyond_chance"] is (len(ways) > 1)
    for row in rows:
        bucket = [each for port, each in zip(ports, wire_us) if port == row["bucket"]]
        truth_us = 100 + slow_port_us * (row["bucket"] % 3 == 0)
        assert low_us(bucket) == pytest.approx(truth_us, abs=5)
        # Other work moves some of the medians, and only up.
        assert row["wire_us"] >= truth_us - 1
    # The kernel's own ports never come again, so nothing is said of them.
    singles, _wall_ns, single_us = zip(*shown["spin"][0]["samples"])
    assert port_spread(singles, single_us) is None


_TAKE = """
import errno, random, socket, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.source_ports import SourcePorts
shuffle = random.Random(1).shuffle
try:
    SourcePorts(5, shuffle)
except OSError as error:
    print(errno.errorcode[error.errno])
print(*SourcePorts(4, shuffle).ports)
"""


def test_machine_without_so_many_ports_keeps_those_it_has() -> None:
    with SynRig({ANSWERS: Behaviour()}) as rig:
        four = "import pathlib; pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range').write_text('50000 50003')"
        subprocess.run(rig.command([sys.executable, "-c", four]), check=True)
        take = rig.command([sys.executable, "-B", "-c", _TAKE, str(ROOT / ".venv" / "collections")])
        shown = subprocess.run(take, check=True, capture_output=True, text=True).stdout
    assert shown.splitlines() == ["EADDRINUSE", "50000 50001 50002 50003"]
