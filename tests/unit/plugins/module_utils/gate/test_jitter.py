# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timer jitter: what the tools print, read; what can't be measured, told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.jitter import (
    LATEST_US,
    Tools,
    cyclictest_counts,
    plan_from,
    rtla_counts,
    run_jitter,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption

OPTIONS = {"duration_s": 4, "blocks": 2, "cpus": [2, 3], "interval_us": 500, "priority": 90, "tool": "auto"}
ONLINE = [0, 1, 2, 3]

# What cyclictest 2.4 printed for two threads, shortened.
CYCLICTEST = """\
WARN: not setting cpu_dma_latency from cyclictest
# Histogram
000000 000000\t000000
000002 000007\t000001
000003 000090\t000098
000009 000001\t000000
# Total: 000000098 000000099
# Min Latencies: 00002 00002
# Avg Latencies: 00003 00003
# Max Latencies: 12493 00003
# Histogram Overflows: 00002 00000
# Histogram Overflow at cycle number:
# Thread 0: 00000 00001
# Thread 1:
"""

# The example of rtla's own manual page (kernel documentation, rtla-timerlat-hist), two CPUs of it and shortened.
RTLA = """\
# RTLA timerlat histogram
# Time unit is microseconds (us)
# Duration:   0 00:10:00
Index   IRQ-002   Thr-002   IRQ-003   Thr-003
1         94531     48382     83082     71078
2         28231    109012     23311     89309
6           635    213774       757    215471
over:         0         3         0         0
count:   600002    600002    600002    600002
min:          0         1         0         1
avg:          0         5         0         5
max:         16        19        11        17
"""


class Programs:
    """Programs that print what was recorded; every command is written down."""

    def __init__(self, root: bool = True, **outputs: tuple[int, str, str]) -> None:
        self.outputs = outputs
        self.commands: list[list[str]] = []
        self.tools = Tools(self.find, self.run, root)

    def find(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.outputs else None

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        words = list(command)
        self.commands.append(words)
        if "--help" in words:
            return 0, "cyclictest V 2.40\nUsage:\n", ""
        program = next(word for word in words if word.startswith("/usr/bin/"))
        return self.outputs[program.rpartition("/")[2]]


def test_cyclictest_is_read_with_its_overflows() -> None:
    assert cyclictest_counts(CYCLICTEST, [2, 3]) == {
        2: {2: 7, 3: 90, 9: 1, LATEST_US: 2},
        3: {2: 1, 3: 98},
    }


def test_rtla_is_read_without_its_interrupts() -> None:
    assert rtla_counts(RTLA, [2, 3]) == {
        2: {1: 48_382, 2: 109_012, 6: 213_774, LATEST_US: 3},
        3: {1: 71_078, 2: 89_309, 6: 215_471},
    }


def test_figures_of_all_blocks() -> None:
    programs = Programs(cyclictest=(0, CYCLICTEST, ""))
    result = run_jitter(plan_from(OPTIONS, ONLINE), programs.tools)
    assert (result["evaluated"], result["tool"], result["reason"]) == (True, "cyclictest", "")
    assert (result["samples"], result["overflows"], result["max_us"]) == (2 * 199, 4, LATEST_US)
    assert result["jitter"]["median_us"] == 3
    assert result["jitter"]["best_us"] == 2
    assert result["histogram"] == {"edge_us": [2, 3, 9, 9984], "count": [16, 376, 2, 4]}
    assert [block["samples"] for block in result["blocks"]] == [199, 199]
    assert [(one["cpu"], one["samples"], one["max_us"]) for one in result["per_cpu"]] == [
        (2, 200, LATEST_US),
        (3, 198, 3),
    ]
    assert result["method"]["version"] == "2.40"


def test_the_tool_is_bounded_and_leaves_power_management_alone() -> None:
    programs = Programs(cyclictest=(0, CYCLICTEST, ""))
    run_jitter(plan_from(OPTIONS, ONLINE), programs.tools)
    _help, *runs = programs.commands
    assert len(runs) == 2
    assert runs[0][:5] == ["timeout", "-k", "5", "32", "/usr/bin/cyclictest"]
    assert {"--default-system", "--affinity=2,3", "--threads=2", "--duration=2"} <= set(runs[0])


def test_rtla_is_used_where_it_is_what_there_is() -> None:
    programs = Programs(rtla=(0, RTLA, ""))
    result = run_jitter(plan_from(OPTIONS, ONLINE), programs.tools)
    assert (result["tool"], result["samples"]) == ("rtla", 2 * 747_029)
    assert {"timerlat", "hist", "--cpus=2,3", "--duration=2s", "--no-irq"} <= set(programs.commands[1])


@pytest.mark.parametrize(
    ("programs", "options", "reason"),
    [
        (Programs(), {}, "neither cyclictest nor rtla is installed"),
        (Programs(cyclictest=(0, "", "")), {"tool": "rtla"}, "rtla is not installed"),
        (Programs(root=False, cyclictest=(0, CYCLICTEST, "")), {}, "cyclictest needs root for real-time priority"),
        (Programs(cyclictest=(1, "", "no\nmore")), {}, "cyclictest ended with 1: no"),
        (Programs(cyclictest=(124, "", "")), {}, "cyclictest ended with 124: it said nothing"),
        (Programs(rtla=(0, "# RTLA timerlat histogram\n", "")), {}, "rtla printed no figures"),
    ],
)
def test_what_cant_be_measured_is_told(programs: Programs, options: dict[str, Any], reason: str) -> None:
    result = run_jitter(plan_from({**OPTIONS, **options}, ONLINE), programs.tools)
    assert (result["evaluated"], result["reason"], result["jitter"]) == (False, reason, None)
    assert result["msg"] == f"Not measured: {reason}."


def test_a_dry_run_measures_nothing() -> None:
    programs = Programs(cyclictest=(0, CYCLICTEST, ""))
    result = run_jitter(plan_from(OPTIONS, ONLINE), programs.tools, dry=True)
    assert (result["evaluated"], result["msg"]) == (False, "Would measure 2 CPUs for 4 s with cyclictest.")
    assert [command[-1] for command in programs.commands] == ["--help"]


def test_without_cpus_all_that_are_online_are_measured() -> None:
    assert plan_from({**OPTIONS, "cpus": []}, ONLINE).cpus == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("duration_s", 0),
        ("duration_s", 601),
        ("blocks", 0),
        ("blocks", 5),
        ("cpus", [4]),
        ("cpus", [1, 1]),
        ("interval_us", 49),
        ("priority", 99),
    ],
)
def test_options_that_cant_be(option: str, value: Any) -> None:
    with pytest.raises(BadOption, match=f"^{option}: "):
        plan_from({**OPTIONS, option: value}, ONLINE)
