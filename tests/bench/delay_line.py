# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How exact the lab's delay line is, as a Markdown table. Needs root on Linux; takes about a minute.

    .venv/bin/python tests/bench/delay_line.py [--samples 200] [--repeats 3]

A lab of its own (index 3) has eight racks that are 10 us apart at each of 24 addresses, from 60 to 400 us. Probes are
the collection's own, each a process in an instance's namespace. `off` is the wire median less the published truth.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv/collections"), str(ROOT / "roles/lab/files")]

from ansible_collections.lowlatency.ec2.plugins.module_utils._probe import handshake
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import connector
from local_region.delay_line.client import DelayLine
from local_region.exchange.listener import Listener
from local_region.network.child import enter_namespace
from local_region.network.layout import LabNetwork
from local_region.topology import HIGHEST_US, LOWEST_US, Topology

INDEX = 3
RACKS = 8
STEP_US = 10.0
MOST_RATE = 4000
BLOCK = 10
TIMEOUT_MS = 100
IDLE_S = 3.0


class LadderTopology(Topology):
    """Racks that differ by exactly 10 us from their neighbours at every address, instead of the lab's own ones."""

    def truths_us(self) -> dict[str, dict[str, dict[str, float]]]:
        addresses = [(endpoint.name, address) for endpoint in self.endpoints for address in endpoint.addresses]
        step_us = (HIGHEST_US - LOWEST_US - STEP_US * (RACKS - 1)) / (len(addresses) - 1)
        ladder: dict[str, dict[str, dict[str, float]]] = {}
        for number, rack in enumerate(self.racks[:RACKS]):
            row: dict[str, dict[str, float]] = {endpoint.name: {} for endpoint in self.endpoints}
            for place, (name, address) in enumerate(addresses):
                row[name][address] = round(LOWEST_US + place * step_us + number * STEP_US, 1)
            ladder[rack] = row
        return ladder

    def flat_us(self, rack: str) -> dict[str, float]:
        return {address: us for row in self.truths_us()[rack].values() for address, us in row.items()}


class Reading(NamedTuple):
    """Medians of one probe by address, in us, with the handshakes that it made, that failed, and its time."""

    wall_us: dict[str, float]
    wire_us: dict[str, float]
    handshakes: int
    failed: int
    duration_s: float


def probe(namespace: str, addresses: Sequence[str], samples: int, start: Barrier, answer: Connection) -> None:
    """One probe, in a process of its own."""
    enter_namespace(namespace)
    chance = random.Random(os.getpid())
    records = [handshake.AddressRecord("bench", address, 443, samples) for address in addresses]
    touch = handshake.LoopbackTouch()
    with closing(touch):
        campaign = handshake.Campaign(
            records,
            connect=connector("blocking", TIMEOUT_MS, time.perf_counter_ns),
            pacer=handshake.Pacer(time.perf_counter_ns, time.sleep, chance.random, touch),
            max_rate=MOST_RATE,
            max_rate_per_address=MOST_RATE,
            shuffle=chance.shuffle,
            report=lambda _now_ns: None,
        )
        campaign.warm_up(100)
        start.wait(30)
        start_s = time.monotonic()
        campaign.measure(BLOCK)
        duration_s = time.monotonic() - start_s
    answer.send(
        Reading(
            {record.address: statistics.median(record.wall_ns) / 1000 for record in records},
            {record.address: statistics.median(record.wire_us) for record in records},
            sum(len(record.wall_ns) for record in records),
            sum(sum(record.errors.values()) for record in records),
            duration_s,
        )
    )


class Bench:
    """A lab with one instance in each rack of the ladder."""

    def __init__(self, network: LabNetwork, topology: LadderTopology, samples: int) -> None:
        self.network = network
        self.topology = topology
        self.samples = samples
        self.namespaces = [f"{network.addressing.namespace_prefix}rack{number}" for number in range(RACKS)]
        self.addresses = list(topology.flat_us(topology.racks[0]))

    def run(self, racks: Sequence[int]) -> dict[int, Reading]:
        """Probe from these racks at the same time; raises when a probe has no result."""
        context = multiprocessing.get_context("fork")
        start = context.Barrier(len(racks))
        pipes, children = {}, []
        for rack in racks:
            pipes[rack], theirs = context.Pipe(duplex=False)
            arguments = (self.namespaces[rack], self.addresses, self.samples, start, theirs)
            children.append(context.Process(target=probe, args=arguments))
            children[-1].start()
            theirs.close()
        try:
            return {rack: pipe.recv() for rack, pipe in pipes.items()}
        finally:
            for child in children:
                child.join(10)
                child.kill()

    def off_us(self, readings: dict[int, Reading]) -> list[float]:
        """Return the wire median less the truth, of every rack and address."""
        flat = {rack: self.topology.flat_us(self.topology.racks[rack]) for rack in readings}
        return [
            median_us - flat[rack][address]
            for rack, reading in readings.items()
            for address, median_us in reading.wire_us.items()
        ]


def in_order(readings: dict[int, Reading], metric: str) -> tuple[int, int]:
    """Return (pairs of neighbouring racks in the true order, all pairs) over the addresses."""
    pairs = [
        getattr(readings[near], metric)[address] < getattr(readings[far], metric)[address]
        for near, far in itertools.pairwise(sorted(readings))
        for address in readings[near].wire_us
    ]
    return sum(pairs), len(pairs)


@contextmanager
def lab(samples: int) -> Iterator[tuple[Bench, dict[str, int | None], DelayLine]]:
    topology = LadderTopology(seed=1, index=INDEX)
    network = LabNetwork(INDEX)
    listener, line = Listener(network.addressing), DelayLine(network, topology)
    network.up()
    try:
        processes = {"listener": listener.start(), "delay line": line.start()}
        bench = Bench(network, topology, samples)
        for number, namespace in enumerate(bench.namespaces):
            private_ip = f"198.18.{16 * INDEX}.{16 + number}"
            network.attach(namespace, private_ip)
            line.set_rack(private_ip, topology.racks[number])
        yield bench, processes, line
    finally:
        line.stop()
        listener.stop()
        network.down()


def work_of(pid: int | None) -> tuple[int, int]:
    """Return (CPU time in clock ticks, times it gave up the processor by itself) of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    switches = next(line.split()[1] for line in status if line.startswith("voluntary_ctxt_switches"))
    return int(fields[11]) + int(fields[12]), int(switches)


def shown(off_us: Sequence[float]) -> str:
    worst = max(off_us, key=abs)
    return f"{statistics.median(off_us):+.1f}, {worst:+.1f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("---" for _dummy in rows[0]) + " |")
    return "\n".join(lines)


def run(samples: int, repeats: int) -> None:
    rows = [
        [
            "probes",
            "racks apart (us)",
            "handshakes/s",
            "failed",
            "off (us): median, worst",
            "wall adds (us)",
            "in order by wire",
            "in order by wall",
        ]
    ]
    rates: dict[int, list[float]] = {}
    with lab(samples) as (bench, processes, line):
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"Load averages before: {load}. {line.calibration}\n")
        for racks in ([0], [RACKS - 1], [0, 2, 4, 6], list(range(RACKS))):
            for _dummy in range(repeats):
                readings = bench.run(racks)
                rate = sum(one.handshakes / one.duration_s for one in readings.values())
                rates.setdefault(len(racks), []).append(rate)
                walls_us = [
                    one.wall_us[address] - bench.topology.flat_us(bench.topology.racks[rack])[address]
                    for rack, one in readings.items()
                    for address in one.wall_us
                ]
                orders = [
                    f"{good}/{of}" if of else ""
                    for good, of in (in_order(readings, "wire_us"), in_order(readings, "wall_us"))
                ]
                gap = str(int(STEP_US) * (racks[1] - racks[0])) if len(racks) > 1 else ""
                failed = sum(one.failed for one in readings.values())
                rows.append(
                    [
                        str(len(racks)),
                        gap,
                        f"{rate:,.0f}",
                        str(failed),
                        shown(bench.off_us(readings)),
                        f"{min(walls_us):.0f} to {max(walls_us):.0f}",
                        *orders,
                    ]
                )
        time.sleep(IDLE_S)
        before = {name: work_of(pid) for name, pid in processes.items()}
        time.sleep(IDLE_S)
        idle = {name: [now - then for now, then in zip(work_of(pid), before[name])] for name, pid in processes.items()}
    print(table(rows))
    print(f"\n4 probes make {statistics.median(rates[4]) / statistics.median(rates[1]):.2f} times the handshakes of 1.")
    for name, (ticks, switches) in idle.items():
        print(f"The {name}, idle for {IDLE_S:.0f} s: {ticks} ticks of CPU, {switches} wake-ups.")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--samples", type=int, default=200, help="handshakes an address and probe")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--nice", type=int, default=0, help="of the probes; -20 where other work shares the machine")
    given = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("this bench needs root: it makes network namespaces")
    os.nice(given.nice)
    run(given.samples, given.repeats)


if __name__ == "__main__":
    main()
