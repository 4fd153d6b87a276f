# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a machine is at rest, and waiting for it by a clock that moves in sleeps alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.quiet import (
    QUIET_WINDOWS,
    WINDOW_S,
    Machine,
    Rest,
    Ticks,
    busiest_share,
    cloud_init_state,
    cpu_ticks,
    wait_for_quiet,
)
from hypothesis import given
from hypothesis import strategies as st

# From a c7i.large, shortened.
STAT = """cpu  2255 34 2290 22625563 6290 127 456 12 0 0
cpu0 1132 17 1441 11311718 3675 127 438 5 0 0
cpu1 1123 17 849 11313845 2614 0 18 7 0 0
intr 114930548 113199788 3 0 5 263 0 4 [...]
ctxt 1990473
btime 1062191376
procs_running 1
"""

ticks = st.builds(Ticks, st.integers(0, 10**9), st.integers(0, 10**9))
looks = st.dictionaries(st.sampled_from(["cpu0", "cpu1", "cpu2", "cpu7"]), ticks)


class Told(Machine):
    """A machine whose windows are told beforehand as (share that cpu1 is busy, state of cloud-init)."""

    def __init__(self, windows: Sequence[tuple[float, str]], first: str = "done") -> None:
        self._windows = list(windows)
        self._state = first
        self._busy = self._idle = 0
        self.now_s = 1_000.0

    def cloud_init(self) -> str:
        return self._state

    def ticks(self) -> dict[str, Ticks]:
        return {"cpu0": Ticks(0, self._busy + self._idle), "cpu1": Ticks(self._busy, self._idle)}

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        share, self._state = self._windows.pop(0)
        self.now_s += seconds
        self._busy += round(share * 100)
        self._idle += 100 - round(share * 100)

    def wait(self, timeout_s: float) -> dict[str, object]:
        return wait_for_quiet(timeout_s, 0.1, machine=self, clock_s=self.clock_s, sleep=self.sleep)


# --- cloud-init ---


@pytest.mark.parametrize(
    ("names", "state"),
    [
        ([], "absent"),
        (["ds-identify.log"], "absent"),
        (["disabled", "ds-identify.log"], "disabled"),
        (["enabled", "ds-identify.log"], "running"),
        (["enabled", "status.json"], "running"),
        (["status.json"], "running"),
        (["enabled", "status.json", "result.json", "instance-data.json"], "done"),
    ],
)
def test_state_of_cloud_init_is_told_by_its_files(names: list[str], state: str) -> None:
    assert cloud_init_state(names) == state


def test_cloud_init_is_looked_for_on_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "cloud-init"
    machine = Machine(str(folder))
    assert machine.cloud_init() == "absent"
    folder.mkdir()
    (folder / "enabled").touch()
    assert machine.cloud_init() == "running"
    (folder / "result.json").touch()
    assert machine.cloud_init() == "done"


# --- how busy ---


def test_what_cpus_did_is_read_from_proc() -> None:
    assert cpu_ticks(STAT) == {
        "cpu0": Ticks(1132 + 17 + 1441 + 127 + 438 + 5, 11311718 + 3675),
        "cpu1": Ticks(1123 + 17 + 849 + 0 + 18 + 7, 11313845 + 2614),
    }


@given(looks, looks)
def test_share_is_a_share(before: dict[str, Ticks], after: dict[str, Ticks]) -> None:
    assert 0 <= busiest_share(before, after) <= 1


@given(looks.filter(bool), st.integers(0, 100), st.integers(1, 100))
def test_one_busy_cpu_is_enough(before: dict[str, Ticks], busy: int, idle: int) -> None:
    after = {name: Ticks(one.busy, one.idle + 100) for name, one in before.items()}
    worst = min(before)
    after[worst] = Ticks(before[worst].busy + busy, before[worst].idle + idle)
    assert busiest_share(before, after) == busy / (busy + idle)


def test_cpu_that_came_or_went_and_one_that_did_nothing_are_left_out() -> None:
    assert busiest_share({"cpu0": Ticks(0, 0), "cpu1": Ticks(5, 5)}, {"cpu0": Ticks(0, 0), "cpu2": Ticks(9, 9)}) == 0.0


def test_cpu_that_is_kept_busy_shows_on_the_real_machine() -> None:
    # The lowest of priorities: whoever else wants the CPU keeps it as busy.
    spin = (
        "import os; os.nice(19); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(flush=True)\nwhile 1: 0"
    )
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as spinning:
        assert spinning.stdout is not None
        spinning.stdout.readline()
        try:
            shown = wait_for_quiet(WINDOW_S, 0.5)
        finally:
            spinning.kill()
    assert shown["quiet"] is False
    assert shown["busy_share"] > 0.8


# --- rest ---


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["done", "running", "absent", "disabled"])), max_size=30))
def test_rest_is_some_quiet_windows_in_a_row(windows: list[tuple[float, str]]) -> None:
    rest = Rest(0.3)
    quiet = [share <= 0.3 and state != "running" for share, state in windows]
    for at, window in enumerate(windows):
        in_row = quiet[max(at + 1 - QUIET_WINDOWS, 0) : at + 1]
        assert rest.note(*window) is (len(in_row) == QUIET_WINDOWS and all(in_row))


def test_quiet_machine_is_waited_for_no_longer_than_it_takes_to_see_it() -> None:
    machine = Told([(0.02, "done")] * 10)
    assert machine.wait(60) == {"waited_s": 3.0, "quiet": True, "busy_share": 0.02, "cloud_init": "done"}


def test_boot_under_way_is_waited_for_though_the_cpus_are_idle() -> None:
    machine = Told([(0.0, "running")] * 20 + [(0.01, "done")] * 10, first="running")
    assert machine.wait(60) == {"waited_s": 23.0, "quiet": True, "busy_share": 0.01, "cloud_init": "done"}


def test_pause_of_a_second_is_no_rest() -> None:
    machine = Told([(0.9, "done"), (0.0, "done"), (0.0, "done")] * 5 + [(0.05, "absent")] * 5)
    assert machine.wait(60) == {"waited_s": 16.0, "quiet": True, "busy_share": 0.05, "cloud_init": "absent"}


def test_limit_ends_the_wait_and_says_what_was_in_the_way() -> None:
    assert Told([(0.4, "done")] * 99).wait(10.5) == {
        "waited_s": 10.0,
        "quiet": False,
        "busy_share": 0.4,
        "cloud_init": "done",
    }
    assert Told([(0.0, "running")] * 99, "running").wait(5)["cloud_init"] == "running"


@pytest.mark.parametrize("timeout_s", [0, 0.9])
def test_no_time_to_wait_is_no_judgement(timeout_s: float) -> None:
    nothing = {"waited_s": 0.0, "quiet": None, "busy_share": None, "cloud_init": "running"}
    assert Told([], first="running").wait(timeout_s) == nothing
