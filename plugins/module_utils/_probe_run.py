# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole probe from plan to result, on this machine.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from ansible_collections.lowlatency.ec2.plugins.module_utils._handshake import (
    NS_PER_S,
    AddressRecord,
    Campaign,
    LoopbackTouch,
    Pacer,
    blocking_connector,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_plan import BadOption, Endpoint, Plan, allowed_rate
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_result import (
    endpoint_result,
    handshakes_tried,
    progress,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_schedule import ExhaustiveSchedule
from ansible_collections.lowlatency.ec2.plugins.module_utils._resolve import (
    Resolution,
    local_address_towards,
    resolve,
)

PROGRESS_EVERY_NS = NS_PER_S // 2


class ProgressFile:
    """A JSON file that always holds a whole document: written beside it, then renamed over it."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def write(self, document: dict[str, Any]) -> None:
        """Replace the document. Raises BadOption when the directory is missing or not writable."""
        if self._path is None:
            return
        beside = f"{self._path}.{os.getpid()}.tmp"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.replace(beside, self._path)
        except OSError as error:
            raise BadOption("progress_path", self._path, f"can't be written: {error.strerror}") from error


class ProgressReport:
    """Writes the progress of some records, at once when the stage changes and else about twice a second."""

    def __init__(self, file: ProgressFile) -> None:
        self._file = file
        self._records: Sequence[AddressRecord] = ()
        self._stage = "resolve"
        self._start_ns = self._next_ns = time.perf_counter_ns()

    def enter(self, stage: str, records: Sequence[AddressRecord]) -> None:
        """Begin a stage. Raises BadOption when the file can't be written."""
        self._stage = stage
        self._records = records
        self._next_ns = 0
        self.tick(time.perf_counter_ns())

    def tick(self, now_ns: int) -> None:
        """Write the file if it is time to. Raises BadOption when it can't be written."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PROGRESS_EVERY_NS
        self._file.write(progress(self._stage, self._records, (now_ns - self._start_ns) / NS_PER_S))


@contextmanager
def quiet_process(cpu: int | None) -> Iterator[None]:
    """Pin this process to a CPU, if one is given, and keep the garbage collector still; both are undone after."""
    allowed = os.sched_getaffinity(0)
    collecting = gc.isenabled()
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
        os.sched_setaffinity(0, allowed)


def may_use(cpu: int) -> bool:
    """Whether the kernel lets this process go to a CPU; found out by going there and back.

    An isolated CPU (``isolcpus``) is in no affinity that a process is born with, and yet may be used by number. A CPU
    that is offline or outside the process's cpuset is EINVAL (sched_setaffinity(2)).
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, ValueError, OverflowError):
        return False
    os.sched_setaffinity(0, before)
    return True


def resolve_endpoint(endpoint: Endpoint, attempts: int) -> Resolution:
    """Addresses of an endpoint: the given ones as they are, else what its host resolves to."""
    if endpoint.addresses:
        return Resolution(endpoint.addresses, None)
    return resolve(endpoint.host, attempts)


def run_probe(plan: Plan, *, dry: bool = False) -> dict[str, Any]:
    """Measure as planned and return the module's result; a dry run resolves, but makes no handshake.

    Raises BadOption when the progress file can't be written, OSError when this machine makes no sockets.
    """
    report = ProgressReport(ProgressFile(None if dry else plan.progress_path))
    report.enter("resolve", ())
    start_ns = time.perf_counter_ns()
    resolutions = [resolve_endpoint(endpoint, plan.resolve_attempts) for endpoint in plan.endpoints]
    groups = [
        [AddressRecord(endpoint.name, address, endpoint.port, plan.samples) for address in resolution.addresses]
        for endpoint, resolution in zip(plan.endpoints, resolutions)
    ]
    records = [record for group in groups for record in group]
    planned = len(records) * plan.samples
    if not dry:
        _measure(plan, records, report)
    duration_s = (time.perf_counter_ns() - start_ns) / NS_PER_S
    result = {
        "endpoints": [endpoint_result(*parts) for parts in zip(plan.endpoints, resolutions, groups)],
        "handshakes": handshakes_tried(records),
        "handshakes_planned": planned,
        "duration_s": round(duration_s, 3),
        "method": method(plan),
        "cpu_allowed": sorted(os.sched_getaffinity(0)),
        "client_address": local_address_towards(records[0].address) if records else None,
        "msg": summary_line(plan, records, dry),
    }
    report.enter("done", records)
    return result


def _measure(plan: Plan, records: Sequence[AddressRecord], report: ProgressReport) -> None:
    # Seeded by the system, so that two probes never draw the same gaps; nothing here has to be hard to guess.
    chance = random.Random()  # noqa: S311
    touch = LoopbackTouch()
    campaign = Campaign(
        records,
        connect=blocking_connector(plan.timeout_ms, time.perf_counter_ns),
        pacer=Pacer(time.perf_counter_ns, time.sleep, chance.random, touch),
        max_rate=plan.max_rate,
        max_rate_per_address=plan.max_rate_per_address,
        shuffle=chance.shuffle,
        report=report.tick,
    )
    with closing(touch), quiet_process(plan.cpu):
        report.enter("warmup", records)
        campaign.warm_up(plan.warmup)
        report.enter("measure", records)
        campaign.measure(ExhaustiveSchedule(records, plan.block_size))


def method(plan: Plan) -> dict[str, Any]:
    """How the figures were made: results are comparable only where these agree."""
    return {
        "mode": plan.probe_mode,
        "connect": "blocking",
        "samples": plan.samples,
        "warmup": plan.warmup,
        "timeout_ms": plan.timeout_ms,
        "max_rate": plan.max_rate,
        "max_rate_per_address": plan.max_rate_per_address,
        "block_size": plan.block_size,
        "cpu": plan.cpu,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def summary_line(plan: Plan, records: Sequence[AddressRecord], dry: bool) -> str:
    """One line for a person: what was measured, or what would be."""
    endpoints = f"{len(plan.endpoints)} endpoint{'s' * (len(plan.endpoints) != 1)}"
    addresses = f"{len(records)} address{'es' * (len(records) != 1)}"
    if not dry:
        measured = sum(len(record.wall_ns) for record in records)
        return f"Measured {measured} handshakes with {addresses} of {endpoints}."
    rate = allowed_rate([record.address for record in records], plan.max_rate, plan.max_rate_per_address)
    planned = len(records) * plan.samples
    return (
        f"Would measure {planned} handshakes with {addresses} of {endpoints}, "
        f"at most {rate:.0f} a second, {planned / rate:.0f} s or more."
    )
