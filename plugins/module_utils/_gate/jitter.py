# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How late timers fire, measured by cyclictest or rtla, from plan to result.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._probe.plan import BadOption
from .._statistics import histogram_us, median, quantile
from .ping import summary_us
from .ping_daemon import online_cpus

#: How late the tools count to; a timer that is later counts as this late.
LATEST_US = 10_000

# What a tool is given beyond its duration to start and to print before it is ended.
GRACE_S = 30

CYCLICTEST, RTLA = "cyclictest", "rtla"

#: Lateness in microseconds to the number of timers, by CPU.
Counts = Mapping[int, Mapping[int, int]]


class NotMeasured(Exception):
    """A tool gave no figures; the text says why."""


@dataclass(frozen=True)
class Tools:
    """The way to the tools: find gives a program's path or None, run gives (code, output, errors)."""

    find: Callable[[str], str | None]
    run: Callable[[Sequence[str]], tuple[int, str, str]]
    root: bool


@dataclass(frozen=True)
class Plan:
    """Everything that is asked for. duration_s: of all blocks together."""

    duration_s: int
    blocks: int
    cpus: tuple[int, ...]
    interval_us: int
    priority: int
    tool: str

    @property
    def block_s(self) -> int:
        """Seconds of a block: the tools count whole ones."""
        return max(self.duration_s // self.blocks, 1)


def plan_from(options: Mapping[str, Any], online: Sequence[int] | None = None) -> Plan:
    """Plan from the module's options; without CPUs these are all that are online. Raises BadOption."""
    for option, low, high in (
        ("duration_s", 1, 600),
        ("blocks", 1, 600),
        ("interval_us", 50, 100_000),
        ("priority", 1, 98),
    ):
        if not low <= options[option] <= high:
            raise BadOption(option, options[option], f"is not from {low} to {high}")
    if options["blocks"] > options["duration_s"]:
        raise BadOption("blocks", options["blocks"], f"are more than the {options['duration_s']} seconds to measure")
    # Not what the scheduler would give this process, which shrinks with isolation: before and after must be the same.
    online = online_cpus() if online is None else online
    cpus = sorted(options["cpus"] or online)
    for cpu in cpus:
        if cpu not in online:
            raise BadOption("cpus", cpu, f"is not a CPU that is online ({', '.join(map(str, online))})")
        if cpus.count(cpu) > 1:
            raise BadOption("cpus", cpu, "is given twice")
    own = {name: options[name] for name in ("duration_s", "blocks", "interval_us", "priority", "tool")}
    return Plan(cpus=tuple(cpus), **own)


def run_jitter(plan: Plan, tools: Tools, *, dry: bool = False) -> dict[str, Any]:
    """Measure as planned and return the module's result. That nothing could be measured is a result, too."""
    name = path = ""
    blocks: list[Counts] = []
    try:
        name, path = found(plan, tools)
        version = version_of(path, tools)
        if not dry:
            blocks = [one_block(plan, name, path, tools) for _block in range(plan.blocks)]
    except NotMeasured as error:
        return {**result(plan, name, "", []), "reason": str(error), "msg": f"Not measured: {error}."}
    took_s = plan.block_s * plan.blocks
    shown = result(plan, name, version, blocks)
    if dry:
        msg = f"Would measure {len(plan.cpus)} CPUs for {took_s} s with {name}."
        return {**shown, "reason": "check mode", "msg": msg}
    return {**shown, "msg": f"Measured {shown['samples']} timers on {len(plan.cpus)} CPUs with {name}."}


def found(plan: Plan, tools: Tools) -> tuple[str, str]:
    """Name and path of the tool to use. Raises NotMeasured when there is none, or not the privilege for it."""
    names = (CYCLICTEST, RTLA) if plan.tool == "auto" else (plan.tool,)
    for name in names:
        path = tools.find(name)
        if path:
            if not tools.root:
                raise NotMeasured(f"{name} needs root for real-time priority")
            return name, path
    listed = f"neither {' nor '.join(names)} is" if len(names) > 1 else f"{names[0]} is not"
    raise NotMeasured(f"{listed} installed")


def version_of(path: str, tools: Tools) -> str:
    """Version of a tool as its help says it; empty when it says none."""
    _code, output, errors = tools.run([path, "--help"])
    told = re.search(r"\b(?:V|version) (\d[\w.-]*)", f"{output}\n{errors}")
    return told.group(1) if told else ""


def one_block(plan: Plan, name: str, path: str, tools: Tools) -> Counts:
    """Run the tool once. Raises NotMeasured when it fails or prints no figures."""
    command, parse = {
        CYCLICTEST: (cyclictest_command, cyclictest_counts),
        RTLA: (rtla_command, rtla_counts),
    }[name]
    bound = ["timeout", "-k", "5", str(plan.block_s + GRACE_S)]
    code, output, errors = tools.run([*bound, *command(path, plan)])
    if code:
        told = (errors.strip() or output.strip() or "it said nothing").splitlines()[0]
        raise NotMeasured(f"{name} ended with {code}: {told}")
    counts = parse(output, plan.cpus)
    if not any(any(lateness.values()) for lateness in counts.values()):
        raise NotMeasured(f"{name} printed no figures")
    return counts


def cyclictest_command(path: str, plan: Plan) -> list[str]:
    """One thread a CPU, all of one period, with the system's own power management: that is part of what is measured."""
    return [
        path,
        "--quiet",
        "--mlockall",
        "--default-system",
        f"--priority={plan.priority}",
        f"--interval={plan.interval_us}",
        "--distance=0",
        f"--affinity={','.join(map(str, plan.cpus))}",
        f"--threads={len(plan.cpus)}",
        f"--histogram={LATEST_US}",
        f"--duration={plan.block_s}",
    ]


def cyclictest_counts(output: str, cpus: Sequence[int]) -> Counts:
    """Read C(--histogram): a line per microsecond with a column per thread, then C(# Histogram Overflows)."""
    counts: dict[int, dict[int, int]] = {cpu: {} for cpu in cpus}
    for line in output.splitlines():
        words = line.split()
        if line.startswith("# Histogram Overflows:"):
            late_us, words = LATEST_US, words[3:]
        elif words and words[0].isdigit() and len(words) == len(cpus) + 1:
            late_us, words = int(words[0]), words[1:]
        else:
            continue
        _add(counts, late_us, zip(cpus, words))
    return counts


def rtla_command(path: str, plan: Plan) -> list[str]:
    """The timerlat tracer's threads, at a real-time priority."""
    return [
        path,
        "timerlat",
        "hist",
        f"--period={plan.interval_us}",
        f"--priority=f:{plan.priority}",
        f"--cpus={','.join(map(str, plan.cpus))}",
        f"--entries={LATEST_US}",
        "--bucket-size=1",
        "--no-irq",
        f"--duration={plan.block_s}s",
    ]


def rtla_counts(output: str, cpus: Sequence[int]) -> Counts:
    """Read C(rtla timerlat hist): a line per microsecond below a header that names the columns, then C(over:)."""
    counts: dict[int, dict[int, int]] = {cpu: {} for cpu in cpus}
    columns: list[str] = []
    for line in output.splitlines():
        words = line.split()
        if words and words[0] == "Index":
            columns = words[1:]
        if not words or len(words) != len(columns) + 1 or not (words[0].isdigit() or words[0] == "over:"):
            continue
        late_us = LATEST_US if words[0] == "over:" else int(words[0])
        threads = [(int(name[4:]), word) for name, word in zip(columns, words[1:]) if name.startswith("Thr-")]
        _add(counts, late_us, ((cpu, word) for cpu, word in threads if cpu in counts))
        if words[0] == "over:":
            break
    return counts


def _add(counts: dict[int, dict[int, int]], late_us: int, columns: Any) -> None:
    for cpu, word in columns:
        if int(word):
            counts[cpu][late_us] = counts[cpu].get(late_us, 0) + int(word)


def result(plan: Plan, name: str, version: str, blocks: Sequence[Counts]) -> dict[str, Any]:
    """The module's result from the counts of each block, without its message."""
    per_cpu: dict[int, Counter[int]] = {cpu: Counter() for cpu in plan.cpus}
    for block in blocks:
        for cpu, lateness in block.items():
            per_cpu[cpu].update(lateness)
    late_us = _listed(_together(per_cpu))
    return {
        "evaluated": bool(late_us),
        "reason": "",
        "tool": name if late_us else None,
        "samples": len(late_us),
        "overflows": sum(lateness[LATEST_US] for lateness in per_cpu.values()),
        "jitter": summary_us(late_us, per_us=1) if late_us else None,
        "max_us": late_us[-1] if late_us else None,
        "histogram": histogram_us(late_us),
        "blocks": [_block(_listed(_together(block))) for block in blocks],
        "per_cpu": [_cpu(cpu, _listed(lateness)) for cpu, lateness in per_cpu.items() if lateness],
        "method": {
            "tool": name,
            "version": version,
            "duration_s": plan.duration_s,
            "blocks": plan.blocks,
            "cpus": list(plan.cpus),
            "interval_us": plan.interval_us,
            "priority": plan.priority,
            "kernel": platform.release(),
            "machine": platform.machine(),
        },
    }


def _together(counts: Counts) -> Counter[int]:
    total: Counter[int] = Counter()
    for lateness in counts.values():
        total.update(lateness)
    return total


def _listed(lateness: Mapping[int, int]) -> list[int]:
    """All samples, in order."""
    return [late_us for late_us, count in sorted(lateness.items()) for _one in range(count)]


def _block(late_us: Sequence[int]) -> dict[str, Any]:
    return {
        "samples": len(late_us),
        "best_us": float(late_us[0]),
        "median_us": float(median(late_us)),
        "p99_us": round(float(quantile(late_us, 0.99)), 3),
    }


def _cpu(cpu: int, late_us: Sequence[int]) -> dict[str, Any]:
    figures = _block(late_us)
    shown = {key: figures[key] for key in ("samples", "median_us", "p99_us")}
    return {"cpu": cpu, **shown, "max_us": late_us[-1]}
