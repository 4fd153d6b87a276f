# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How true and how cheap the probe is, as Markdown tables: python tests/bench/probe.py [--pairs 31]

Needs root and /dev/net/tun for the rig (tests/support/syn_rig.py) and a C compiler for the comparison, and takes about
four minutes. Exits 1 when a figure misses its limit. Everything that is compared is measured in turn in one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".venv" / "collections")]

from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import summarise_us
from support.plain_client import Calls, run_calls
from support.probe_process import ModuleRun, run_probe_module
from support.syn_rig import LONGEST_LIFE_S, Behaviour, SynRig, cpus, why_not

EXHAUSTIVE = {"probe_mode": "exhaustive"}
NO_CAP = {"max_rate": 1_000_000, "max_rate_per_address": 1_000_000, **EXHAUSTIVE}
ADDRESSES = [f"198.19.248.{n}" for n in range(11, 35)]
WARMUP = 100
# Many short turns rather than few long ones, so that a burst of other work hits few of them.
PAIR_SAMPLES = 600
DELAYS_US = (50, 100, 200, 400)
# The paces of a probe of all of them, and its options.
PACES: tuple[tuple[str, dict[str, Any]], ...] = (("no rate cap", NO_CAP), ("default rates", EXHAUSTIVE))
WIRE_LIMIT_US, C_LIMIT_US = 3.0, 2.0


class Row(NamedTuple):
    """A line of a table; within is None for a figure without a limit."""

    what: str
    figure: str
    limit: str
    within: bool | None


class Medians(NamedTuple):
    """Median wall and wire time of some handshakes in us."""

    wall_us: float
    wire_us: float


Method = Callable[[SynRig, str], Medians]


def probe(rig: SynRig, addresses: list[str], **options: Any) -> ModuleRun:
    """A run of the module in the rig, on the CPU that its owner leaves. Raises RuntimeError when it fails."""
    endpoint = {"name": "rig", "host": "rig.example.com", "addresses": addresses}
    run = run_probe_module(
        {"endpoints": [endpoint], "cpu": cpus()[0], **options}, prefix=rig.command([]), timeout_s=LONGEST_LIFE_S
    )
    if run.result.get("failed"):
        raise RuntimeError(run.result["msg"])
    return run


def wire_rows() -> list[Row]:
    """Wire median against the truth at several distances, at full speed and at the default rates.

    The truth is what the rig kept, from the SYN's passing the device to the answer's by the kernel's stamps. What the
    wire has above it is TCP's own part and the way to the device and back.
    """
    rows = []
    behaviours = {address: Behaviour(delay_us) for address, delay_us in zip(ADDRESSES, DELAYS_US)}
    for pace, options in PACES:
        with SynRig(behaviours) as rig:
            run = probe(rig, list(behaviours), samples=2_000, **options)
        for shown in run.result["endpoints"][0]["addresses"]:
            address = shown["address"]
            truth_us = rig.truth[address].median_us
            wall_us, wire_us = shown["wall"]["median_us"], shown["wire"]["median_us"]
            error_us = wire_us - truth_us
            figure = f"{wire_us:.1f} µs ({error_us:+.1f}), wall {wall_us:.1f} µs"
            limit = f"±{WIRE_LIMIT_US:.0f} µs of the truth"
            what = f"wire median, truth {truth_us:.1f} µs, {pace}"
            rows.append(Row(what, figure, limit, abs(error_us) <= WIRE_LIMIT_US))
    return rows


def module_method(connect: str) -> Method:
    """The probe itself."""

    def medians(rig: SynRig, address: str) -> Medians:
        run = probe(rig, [address], samples=PAIR_SAMPLES, warmup=WARMUP, connect=connect, **NO_CAP)
        shown = run.result["endpoints"][0]["addresses"][0]
        return Medians(shown["wall"]["median_us"], shown["wire"]["median_us"])

    return medians


def c_method(program: Path, connect: str) -> Method:
    """The C program."""

    def medians(rig: SynRig, address: str) -> Medians:
        arguments = [address, "443", str(PAIR_SAMPLES), str(WARMUP), connect]
        command = rig.command(["taskset", "-c", str(cpus()[0]), str(program), *arguments])
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_LIFE_S).stdout
        walls_ns, wires_us = zip(*(map(int, line.split()) for line in told.splitlines()))
        return Medians(statistics.median(walls_ns) / 1_000, statistics.median(wires_us))

    return medians


def python_method(method: str, **options: Any) -> Method:
    """Plain Python, as anybody would write it: closed with a FIN, the target named in each call."""

    def medians(rig: SynRig, address: str) -> Medians:
        calls = Calls(address, PAIR_SAMPLES, method=method, warmup=WARMUP, cpu=cpus()[0], **options)
        made = [one for one in run_calls(calls, rig.command([])) if one.code == 0]
        return Medians(
            statistics.median(one.wall_ns for one in made) / 1_000, statistics.median(one.wire_us for one in made)
        )

    return medians


@contextmanager
def methods() -> Iterator[dict[str, Method]]:
    """The methods that are compared. Raises FileNotFoundError without a C compiler."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "connect"
        source = ROOT / "tests" / "bench" / "connect.c"
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        yield {
            "C, blocking": c_method(program, "blocking"),
            "probe, blocking": module_method("blocking"),
            "usual `settimeout(1)`": python_method("settimeout", reset=False, timeout_s=1),
            "`create_connection`": python_method("create_connection", reset=False, timeout_s=1),
            "C, spin": c_method(program, "spin"),
            "probe, spin": module_method("spin"),
        }


def turns(
    delay_us: float, pairs: int, compared: Mapping[str, Method]
) -> tuple[dict[str, list[Medians]], dict[str, float]]:
    """Medians of each method in each turn, and the median delay that each method's own address kept."""
    own = dict(zip(compared, ADDRESSES))
    medians: dict[str, list[Medians]] = {name: [] for name in compared}
    with SynRig({address: Behaviour(delay_us) for address in own.values()}, life_s=LONGEST_LIFE_S) as rig:
        for turn in range(pairs):
            # The order goes the other way in every second turn, so that none always follows the same one.
            for name in list(compared)[:: -1 if turn % 2 else 1]:
                medians[name].append(compared[name](rig, own[name]))
    return medians, {name: rig.truth[address].median_us for name, address in own.items()}


def over_c_us(medians: Mapping[str, list[Medians]], name: str, reference: str) -> tuple[float, float, float]:
    """Median over the turns of how much longer a method's wall median is than C's, and the interval of that median."""
    differences = [ours.wall_us - c.wall_us for ours, c in zip(medians[name], medians[reference])]
    shown = summarise_us(differences)
    return shown["median_us"], shown["median_low_us"], shown["median_high_us"]


def method_rows(delay_us: float, pairs: int) -> tuple[list[str], list[Row]]:
    """Lines of the table that compares the methods on a path, and the rows that have a limit."""
    lines, rows = [], []
    with methods() as compared:
        medians, truth_us = turns(delay_us, pairs, compared)
    c_us = statistics.median(one.wall_us for one in medians["C, blocking"])
    for name, seen in medians.items():
        wall_us, wire_us = (statistics.median(column) for column in zip(*seen))
        over_us, low_us, high_us = over_c_us(medians, name, "C, blocking")
        lines.append(
            f"| {delay_us} µs | {name} | {wall_us:.1f} | {over_us:+.1f} ({low_us:+.1f} to {high_us:+.1f}) "
            f"| {wall_us / c_us:.3f} | {wire_us:.1f} | {wire_us - truth_us[name]:+.1f} |"
        )
    for connect in ("blocking", "spin"):
        over_us, low_us, high_us = over_c_us(medians, f"probe, {connect}", f"C, {connect}")
        what = f"wall median against C, {connect}, path {delay_us} µs, {pairs} times {PAIR_SAMPLES} in turn"
        figure = f"{over_us:+.1f} µs ({low_us:+.1f} to {high_us:+.1f})"
        rows.append(Row(what, figure, f"±{C_LIMIT_US:.0f} µs of C", abs(over_us) <= C_LIMIT_US))
    return lines, rows


def size_rows() -> list[Row]:
    """Peak memory and length of the result of the largest usual probe, with quick answers."""
    with SynRig(dict.fromkeys(ADDRESSES, Behaviour(15))) as rig:
        run = probe(rig, ADDRESSES, samples=10_000, **NO_CAP)
    full = run.result["handshakes"] == 240_000
    return [
        Row("peak memory, 24 addresses of 10,000", f"{run.peak_mib:.1f} MiB", "< 64 MiB", full and run.peak_mib < 64),
    ]


def rate_rows() -> list[Row]:
    """Handshakes a second of one blocking probe with 24 addresses and the default rates."""
    rows = []
    for delay_us in (100, 200, 300):
        with SynRig(dict.fromkeys(ADDRESSES, Behaviour(delay_us))) as rig:
            run = probe(rig, ADDRESSES, samples=400, **EXHAUSTIVE)
        rate = run.result["handshakes"] / run.result["duration_s"]
        limit, within = ("> 3,000/s", rate > 3_000) if delay_us <= 200 else ("", None)
        rows.append(Row(f"handshakes a second, 24 addresses, path {delay_us} µs", f"{rate:,.0f}/s", limit, within))
    return rows


def show(rows: list[Row]) -> None:
    """Print the rows as a table."""
    print("| what | figure | limit | |\n| --- | --- | --- | --- |")
    for row in rows:
        mark = {True: "ok", False: "**missed**", None: ""}[row.within]
        print(f"| {row.what} | {row.figure} | {row.limit} | {mark} |")


def main() -> int:
    """Print the tables; 1 when a figure misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=31, help="turns of each method on each path")
    pairs = parser.parse_args().pairs
    missing = why_not()
    if missing:
        print(f"The probe's bench can't run: {missing}.", file=sys.stderr)
        return 1
    machine = f"Python {platform.python_version()}, kernel {platform.release()}, {os.cpu_count()} CPUs"
    print(f"{machine}, load average {os.getloadavg()[0]:.1f} before.")
    print("Other work on the machine takes caches away, which costs an interpreter more than a C program.\n")
    rows = wire_rows()
    print("| path | method | wall median, µs | over C, in turns | ratio to C | wire median, µs | over what was kept |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for delay_us in (100, 300):
        lines, compared = method_rows(delay_us, pairs)
        print("\n".join(lines), flush=True)
        rows += compared
    print()
    rows += [*size_rows(), *rate_rows()]
    show(rows)
    return int(any(row.within is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
