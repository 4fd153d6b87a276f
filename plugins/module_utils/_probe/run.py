# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole probe from plan to result, on this machine.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from typing import Any

from .allowances import (
    interfaces_towards,
    moved,
    read_allowances,
)
from .answers import Answers, sorted_out
from .clock_steps import ClockWatch
from .connectors import connector
from .handshake import (
    NS_PER_S,
    AddressRecord,
    Campaign,
    Connect,
    LoopbackTouch,
    Pacer,
)
from .plan import BadOption, Endpoint, Plan, allowed_rate
from .quiet import wait_for_quiet
from .resolve import (
    Resolution,
    local_address_towards,
    resolve,
)
from .result import (
    endings,
    endpoint_result,
    handshakes_tried,
    limit_out_of_reach,
    progress,
)
from .route import is_own
from .schedule import schedule_for
from .source_ports import SourcePorts
from .tls_check import check_tls

PROGRESS_EVERY_NS = NS_PER_S // 2

# The lowest there is goes before every ordinary process, and is behind what the kernel runs as C(SCHED_FIFO) itself.
FIFO_PRIORITY = 1

# The strictest documented limit of a venue is three connections a second from an address (OKX).
TLS_GAP_S = 0.35
TLS_TIMEOUT_S = 3.0

_NO_TLS: dict[str, Any] = {
    "ok": False,
    **dict.fromkeys(("protocol", "cipher", "error", "verify_code", "verify_message", "duration_ms")),
}


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

    def __init__(self, file: ProgressFile, most_full: int | None = None) -> None:
        """most_full is how many of the open addresses may still get full samples, None for all of them."""
        self._file = file
        self._most_full = most_full
        self._records: Sequence[AddressRecord] = ()
        self._stage = "resolve"
        self._start_ns = self._next_ns = time.perf_counter_ns()
        #: Called whenever the file is written, between two handshakes.
        self.also: Callable[[], object] = int

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
        elapsed_s = (now_ns - self._start_ns) / NS_PER_S
        self._file.write(progress(self._stage, self._records, elapsed_s, self._most_full))
        self.also()


@contextmanager
def quiet_process(cpu: int | None, *, realtime: bool = False) -> Iterator[None]:
    """Keep this process to a CPU, if one is given, ahead of others if realtime, and its garbage collector still.

    All of it is undone after. Raises BadOption when this process may not be a real-time one.
    """
    allowed = os.sched_getaffinity(0)
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    collecting = gc.isenabled()
    with ExitStack() as undo:
        if cpu is not None:
            undo.callback(os.sched_setaffinity, 0, allowed)
            os.sched_setaffinity(0, {cpu})
        if realtime:
            _become_realtime()
            undo.callback(os.sched_setscheduler, 0, policy, priority)
        gc.collect()
        gc.freeze()
        gc.disable()
        undo.callback(gc.enable if collecting else gc.disable)
        undo.callback(gc.unfreeze)
        yield


def _become_realtime() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # Also EPERM: a control group without a share of real-time run time (CONFIG_RT_GROUP_SCHED).
        reason = "needs root, CAP_SYS_NICE or a limit RTPRIO above 0, which this process does not have"
        raise BadOption("realtime", True, reason) from error


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


def resolve_endpoint(endpoint: Endpoint, attempts: int) -> tuple[Resolution, Answers]:
    """Addresses of an endpoint: the given ones as they are, else those that its host resolves to and that can be."""
    if endpoint.addresses:
        return Resolution(endpoint.addresses, None), Answers(endpoint.addresses, ())
    resolution = resolve(endpoint.host, attempts)
    return resolution, sorted_out(endpoint.host, resolution.addresses, is_own)


def run_probe(plan: Plan, *, dry: bool = False) -> dict[str, Any]:
    """Measure as planned and return the module's result; a dry run resolves, but makes no handshake.

    Raises BadOption when the progress file can't be written or the process may not be a real-time one, OSError when
    this machine makes no sockets.
    """
    most_full = plan.asked.full_addresses if plan.probe_mode == "adaptive" else None
    report = ProgressReport(ProgressFile(None if dry else plan.progress_path), most_full)
    report.enter("resolve", ())
    start_ns = time.perf_counter_ns()
    found = [resolve_endpoint(endpoint, plan.resolve_attempts) for endpoint in plan.endpoints]
    groups = [
        [AddressRecord(endpoint.name, address, endpoint.port, plan.samples) for address in answers.kept]
        for endpoint, (_resolution, answers) in zip(plan.endpoints, found)
    ]
    records = [record for group in groups for record in group]
    surroundings = dict.fromkeys(("quiet", "allowances", "clock_steps"), None) if dry else _run(plan, groups, report)
    duration_s = (time.perf_counter_ns() - start_ns) / NS_PER_S
    result = {
        "endpoints": [
            endpoint_result(endpoint, resolution, answers.refused, group, plan.asked)
            for endpoint, (resolution, answers), group in zip(plan.endpoints, found, groups)
        ],
        "handshakes": handshakes_tried(records),
        "handshakes_planned": len(records) * plan.samples,
        "duration_s": round(duration_s, 3),
        **surroundings,
        "asked": asdict(plan.asked),
        "method": method(plan),
        "cpu_allowed": sorted(os.sched_getaffinity(0)),
        "client_address": local_address_towards(records[0].address) if records else None,
        "msg": summary_line(plan, records, dry),
    }
    report.enter("done", records)
    return result


def _run(plan: Plan, groups: Sequence[Sequence[AddressRecord]], report: ProgressReport) -> dict[str, Any]:
    """Wait for a quiet machine and measure; returns what else was seen: ``{quiet, allowances, clock_steps}``."""
    with quiet_process(plan.cpu, realtime=plan.realtime):
        # Tried once, so that what this process may not do is told before a long wait.
        pass
    records = [record for group in groups for record in group]
    if plan.quiet_timeout_s:
        report.enter("quiet", records)
    quiet = wait_for_quiet(plan.quiet_timeout_s, plan.quiet_load)
    watch = ClockWatch()
    report.also = watch.look
    before = _allowances_towards(records)
    _measure(plan, records, report)
    after = _allowances_towards(records)
    if plan.verify_tls:
        report.enter("tls", records)
        _verify(plan, groups, report)
    return {
        "quiet": quiet,
        "allowances": {
            "before": before[0],
            "after": after[0],
            "moved": moved(before[0], after[0]),
            "error": before[1] or after[1],
        },
        "clock_steps": watch.result(),
    }


def _allowances_towards(records: Sequence[AddressRecord]) -> tuple[dict[str, int], str | None]:
    """Allowances of the interfaces that lead to some addresses, or the error that the kernel has instead."""
    try:
        return read_allowances(interfaces_towards({record.address for record in records})), None
    except OSError as error:
        return {}, errno.errorcode.get(error.errno or 0, str(error))


def _measure(plan: Plan, records: Sequence[AddressRecord], report: ProgressReport) -> None:
    # Seeded by the system, so that two probes never draw the same gaps; nothing here has to be hard to guess.
    chance = random.Random()  # noqa: S311
    with ExitStack() as held:
        touch = held.enter_context(closing(LoopbackTouch()))
        campaign = Campaign(
            records,
            connect=_connect_as(plan, chance, held),
            pacer=Pacer(time.perf_counter_ns, time.sleep, chance.random, touch),
            max_rate=plan.max_rate,
            max_rate_per_address=plan.max_rate_per_address,
            shuffle=chance.shuffle,
            report=report.tick,
        )
        held.enter_context(quiet_process(plan.cpu, realtime=plan.realtime))
        report.enter("warmup", records)
        campaign.warm_up(plan.warmup)
        report.enter("measure", records)
        campaign.measure(schedule_for(plan, records))


def _connect_as(plan: Plan, chance: random.Random, held: ExitStack) -> Connect:
    """The plan's way to connect; source ports are held until the stack is closed. Raises OSError without ports."""
    if not plan.source_ports:
        return connector(plan.connect, plan.timeout_ms, time.perf_counter_ns)
    ports = held.enter_context(closing(SourcePorts(plan.source_ports, chance.shuffle)))
    return connector(plan.connect, plan.timeout_ms, time.perf_counter_ns, ports.bind)


def _verify(plan: Plan, groups: Sequence[Sequence[AddressRecord]], report: ProgressReport) -> None:
    """One TLS handshake with each address that completed a handshake, one after the other."""
    answered = [
        (endpoint, record) for endpoint, group in zip(plan.endpoints, groups) for record in group if record.wall_ns
    ]
    for number, (endpoint, record) in enumerate(answered):
        if number:
            time.sleep(TLS_GAP_S)
        try:
            record.tls = check_tls(record.address, endpoint.port, endpoint.host, TLS_TIMEOUT_S)
        except ValueError:
            # Known only now, and no reason to lose what was measured.
            record.tls = {**_NO_TLS, "error": "NOT_A_NAME"}
        report.tick(time.perf_counter_ns())


def method(plan: Plan) -> dict[str, Any]:
    """How the figures were made: results are comparable only where these agree.

    What only adaptive mode knows is None in exhaustive mode.
    """
    asked = plan.asked if plan.probe_mode == "adaptive" else None
    return {
        "mode": plan.probe_mode,
        "metric": asked.metric if asked else None,
        "error_rate": asked.error_rate if asked else None,
        "indifference": asked.indifference if asked else None,
        "full_addresses": asked.full_addresses if asked else None,
        "connect": plan.connect,
        "source_ports": plan.source_ports,
        "realtime": plan.realtime,
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
    adaptive = plan.probe_mode == "adaptive"
    if dry:
        rate = allowed_rate([record.address for record in records], plan.max_rate, plan.max_rate_per_address)
        planned = len(records) * plan.samples
        bounds = (
            f"at most {planned} handshakes" if adaptive else f"{planned} handshakes",
            "" if adaptive else f", {planned / rate:.0f} s or more",
        )
        return f"Would measure {bounds[0]} with {addresses} of {endpoints}, at most {rate:.0f} a second{bounds[1]}."
    measured = sum(len(record.wall_ns) for record in records)
    ways = f" ({endings(records)})" if adaptive and records else ""
    told = f"Measured {measured} handshakes with {addresses}{ways} of {endpoints}."
    return f"{told} {limit_out_of_reach(records, plan.asked)}".rstrip()
