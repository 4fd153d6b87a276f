# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How true and how cheap the probe is, as a Markdown table: python tests/bench/probe.py

Needs root and /dev/net/tun for the rig (tests/support/syn_rig.py) and a C compiler for the comparison, and takes about
a minute and a half. Exits 1 when a figure misses its limit.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.probe_process import ModuleRun, run_probe_module
from support.syn_rig import Behaviour, SynRig, cpus, why_not

NO_CAP = {"max_rate": 1_000_000, "max_rate_per_address": 1_000_000}
# Many short turns rather than few long ones, so that a burst of other work hits few pairs.
PAIRS, PAIR_SAMPLES = 15, 600
ADDRESSES = [f"198.19.248.{n}" for n in range(11, 35)]


class Row(NamedTuple):
    """A line of the table; within is None for a figure without a limit."""

    what: str
    figure: str
    limit: str
    within: bool | None


def probe(rig: SynRig, addresses: list[str], **options: Any) -> ModuleRun:
    endpoint = {"name": "rig", "host": "rig.example.com", "addresses": addresses}
    run = run_probe_module(
        {"endpoints": [endpoint], "cpu": cpus()[0], **options}, prefix=rig.command([]), timeout_s=100
    )
    if run.result.get("failed"):
        raise RuntimeError(run.result["msg"])
    return run


def wire_rows() -> list[Row]:
    """Wire median against the truth at several distances, at full speed and at the default rates."""
    rows = []
    delays_us = {address: float(delay_us) for address, delay_us in zip(ADDRESSES, (60, 100, 200, 400))}
    for pace, options in (("no rate cap", NO_CAP), ("default rates", {})):
        with SynRig({address: Behaviour(delay_us) for address, delay_us in delays_us.items()}) as rig:
            run = probe(rig, list(delays_us), samples=2_000, **options)
        for shown in run.result["endpoints"][0]["addresses"]:
            truth_us = delays_us[shown["address"]]
            error_us = shown["wire"]["median_us"] - truth_us
            figure = f"{shown['wire']['median_us']:.1f} µs ({error_us:+.1f}), wall {shown['wall']['median_us']:.1f} µs"
            rows.append(
                Row(f"wire median, truth {truth_us:.0f} µs, {pace}", figure, "±5 µs of the truth", abs(error_us) <= 5)
            )
    return rows


def c_wall_us(rig: SynRig, program: Path, address: str, count: int) -> float:
    """Median wall time of the C program's blocking connects."""
    command = rig.command(["taskset", "-c", str(cpus()[0]), str(program), address, "443", str(count), "100"])
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return statistics.median(int(line.split()[0]) for line in lines) / 1_000


def c_rows() -> list[Row]:
    """Wall median of the probe against a C program's on the same path, in turn."""
    compiler = shutil.which("cc")
    if compiler is None:
        return [Row("wall median against C", "not measured: no C compiler", "±3 µs", None)]
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "connect"
        source = ROOT / "tests" / "bench" / "connect.c"
        subprocess.run([compiler, "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        for delay_us in (100, 300):
            pairs = []
            with SynRig({ADDRESSES[0]: Behaviour(delay_us)}) as rig:
                for _pair in range(PAIRS):
                    run = probe(rig, ADDRESSES[:1], samples=PAIR_SAMPLES, **NO_CAP)
                    ours_us = run.result["endpoints"][0]["addresses"][0]["wall"]["median_us"]
                    pairs.append((ours_us, c_wall_us(rig, program, ADDRESSES[0], PAIR_SAMPLES)))
            ours_us, c_us = (statistics.median(column) for column in zip(*pairs))
            difference_us = statistics.median(ours - c for ours, c in pairs)
            figure = f"probe {ours_us:.1f} µs, C {c_us:.1f} µs, in pairs {difference_us:+.1f} µs"
            what = f"wall median against C, path {delay_us} µs, {PAIRS} times {PAIR_SAMPLES} in turn"
            rows.append(Row(what, figure, "±3 µs of C", abs(difference_us) <= 3))
    return rows


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
            run = probe(rig, ADDRESSES, samples=400)
        rate = run.result["handshakes"] / run.result["duration_s"]
        limit, within = ("> 3,000/s", rate > 3_000) if delay_us <= 200 else ("", None)
        rows.append(Row(f"handshakes a second, 24 addresses, path {delay_us} µs", f"{rate:,.0f}/s", limit, within))
    return rows


def main() -> int:
    """Print the table; 1 when a figure misses its limit."""
    missing = why_not()
    if missing:
        print(f"The probe's bench can't run: {missing}.", file=sys.stderr)
        return 1
    load = os.getloadavg()[0]
    rows = [*wire_rows(), *c_rows(), *size_rows(), *rate_rows()]
    machine = f"Python {platform.python_version()}, kernel {platform.release()}, {os.cpu_count()} CPUs"
    print(f"{machine}, load average {load:.1f} before.")
    print("Other work on the machine takes caches away, which costs an interpreter more than a C program.\n")
    print("| what | figure | limit | |\n| --- | --- | --- | --- |")
    for row in rows:
        mark = {True: "ok", False: "**missed**", None: ""}[row.within]
        print(f"| {row.what} | {row.figure} | {row.limit} | {mark} |")
    return int(any(row.within is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
