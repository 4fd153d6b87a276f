# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to connect against a path whose truth is known: see tests/support/syn_rig.py."""

from __future__ import annotations

import errno
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.port_spread import port_rows, port_spread
from support.busy_machine import TOO_BUSY
from support.calm import calm
from support.low import low_us
from support.method_turns import HELD_PORTS, ROOT, ways_in_turn
from support.probe_on_rig import LONGEST_WAY_US
from support.syn_rig import SPINNERS_PRIORITY, Behaviour, SynRig, Truth, cpus, why_not

pytestmark = [pytest.mark.measures, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

WAYS = ("blocking", "spin", "blocking+ports", "spin+ports")
ANSWERS, REFUSES, SILENT, NOWHERE = "198.19.248.11", "198.19.248.12", "198.19.248.13", "198.19.248.14"
HANDSHAKES, TURNS = 200, 8
# How far the medians by port may be apart where all ports go one way.
EVEN_US = 1.0


Shown = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def turns_and_truth() -> tuple[Shown, Truth]:
    """The ways in turn, and what the rig kept."""
    return calm(
        lambda: in_turn(WAYS, Behaviour(100), handshakes=HANDSHAKES, turns=TURNS),
        lambda both: None if max(both[1].kept_us) < 500_000 else "an answer was so late that the kernel called again",
    )


def in_turn(ways: Sequence[str], behaviour: Behaviour, **given: int) -> tuple[Shown, Truth]:
    with SynRig({ANSWERS: behaviour}) as rig:
        # No answer comes near the timeout.
        prefix = rig.command([], SPINNERS_PRIORITY)
        shown = ways_in_turn(ANSWERS, ways, prefix=prefix, cpu=cpus()[0], timeout_ms=5_000, **given)
    return shown, rig.truth[ANSWERS]


@pytest.fixture(scope="module")
def turns(turns_and_truth: tuple[Shown, Truth]) -> Shown:
    shown, _truth = turns_and_truth
    for way, seen in shown.items():
        print(f"{way:15}", *(f"wall {turn['wall_us']:.1f} wire {turn['wire_us']:.0f};" for turn in seen))
    return shown


def kept_by_way(shown: Shown, truth: Truth) -> dict[str, list[float]]:
    """What the rig kept in the handshakes of each way; the order of the ways goes on by one from turn to turn."""
    ways = list(shown)
    kept_us = iter(truth.kept_us)
    by_way: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(len(shown[ways[0]])):
        first = turn % len(ways)
        for way in [*ways[first:], *ways[:first]]:
            by_way[way] += [next(kept_us) for _sample in shown[way][turn]["samples"]]
    assert next(kept_us, None) is None
    return by_way


def walls_us(turn: dict[str, Any]) -> list[float]:
    return [wall_ns / 1_000 for _port, wall_ns, _wire_us in turn["samples"]]


def test_only_a_blocking_connect_sleeps(turns: Shown) -> None:
    for way in WAYS:
        slept = sum(turn["sleeps"] for turn in turns[way])
        if way.startswith("spin"):
            assert slept <= 0.05 * HANDSHAKES * TURNS
        else:
            # On a machine that is very busy an answer may be there before the sleep.
            assert slept >= 0.5 * HANDSHAKES * TURNS


def test_spin_saves_the_wake_up(turns: Shown) -> None:
    if len(set(cpus())) == 1:
        pytest.skip(f"{TOO_BUSY}who spins on the only CPU has it taken away by the rig, which is a wake-up too")
    # The tenth of the handshakes that nothing else got in the way of: the spin's are shorter, and both have the path.
    least_us = {way: statistics.median(low_us(walls_us(turn)) for turn in turns[way]) for way in WAYS}
    print({way: round(least, 1) for way, least in least_us.items()})
    assert 100 <= least_us["spin"] < least_us["blocking"]
    assert 100 <= least_us["spin+ports"] < least_us["blocking+ports"]


@pytest.mark.parametrize("way", WAYS)
def test_wire_time_is_the_truth_by_every_way(turns_and_truth: tuple[Shown, Truth], way: str) -> None:
    shown, truth = turns_and_truth
    wires_us = [wire_us for turn in shown[way] for _port, _wall_ns, wire_us in turn["samples"]]
    to_the_device_us = [wire_us - kept for wire_us, kept in zip(wires_us, kept_by_way(shown, truth)[way])]
    assert min(to_the_device_us) > -1
    assert statistics.median(to_the_device_us) <= LONGEST_WAY_US
    assert all(turn["wall_us"] >= turn["wire_us"] - 1 for turn in shown[way])


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_behind_and_ports_come_again(turns: Shown, way: str) -> None:
    for turn in turns[way]:
        assert turn["time_wait"] == 0
        # A port that could not be had would be another code.
        assert turn["codes"] == {"0": HANDSHAKES}
        assert turn["ports"] == (HELD_PORTS if way.endswith("+ports") else HANDSHAKES)


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
        # Silence is waited through; for the others it is more than any answer takes.
        given = {"handshakes": 3, "turns": 1, "timeout_ms": 60 if address == SILENT else 5_000}
        shown = ways_in_turn(address, WAYS, prefix=rig.command([], SPINNERS_PRIORITY), cpu=cpus()[0], **given)
    for way in WAYS:
        assert shown[way][0]["codes"] == {str(code): 3}
        assert shown[way][0]["wire_us"] is None


@pytest.mark.parametrize("slow_port_us", [8.0, 0.0], ids=["two ways", "one way"])
def test_ways_by_port_show_where_ports_are_held_and_nowhere_else(slow_port_us: float) -> None:
    # Every third port goes a longer way.
    behaviour = Behaviour(100, slow_port_us=slow_port_us, slow_port_every=3 if slow_port_us else 0)

    def off(both: tuple[Shown, Truth]) -> str | None:
        """Whether other work moved what the rig kept for some ports, by its own record of what was asked and kept."""
        late_us: dict[int, list[float]] = {}
        for (port, _wall_ns, _wire_us), asked, kept in zip(
            both[0]["spin+ports"][0]["samples"], both[1].asked_us, both[1].kept_us
        ):
            late_us.setdefault(port, []).append(kept - asked)
        medians_us = [statistics.median(one) for one in late_us.values()]
        apart_us = max(medians_us) - min(medians_us)
        return None if apart_us <= EVEN_US else f"answers were late by port, up to {apart_us:.1f} us apart"

    shown, truth = calm(lambda: in_turn(["spin+ports", "spin"], behaviour, handshakes=960, turns=1), off)
    ports, wall_ns, wire_us = zip(*shown["spin+ports"][0]["samples"])
    kept_us = kept_by_way(shown, truth)["spin+ports"]
    rows = port_rows(ports, wall_ns, wire_us)
    spread = port_spread(ports, wire_us)
    print(spread, *(f"{row['bucket']} {row['wire_us']:.0f};" for row in rows))
    assert spread is not None
    ways = {row["bucket"] % 3 == 0 for row in rows} if slow_port_us else {False}
    assert spread["beyond_chance"] is (len(ways) > 1)
    for row in rows:
        bucket = [(wire, kept) for port, wire, kept in zip(ports, wire_us, kept_us) if port == row["bucket"]]
        assert min(kept for _wire, kept in bucket) >= 100 + slow_port_us * (row["bucket"] % 3 == 0)
        assert 0 <= low_us([wire - kept for wire, kept in bucket]) <= 6
        wire_median_us, kept_median_us = (statistics.median(column) for column in zip(*bucket))
        assert row["wire_us"] == pytest.approx(wire_median_us, abs=1)
        assert kept_median_us - 1 < row["wire_us"] <= kept_median_us + LONGEST_WAY_US
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
