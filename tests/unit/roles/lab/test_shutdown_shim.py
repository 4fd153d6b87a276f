# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances' shutdown command understands what systemd's does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.hosts import image

NOON_S = 1_800_000_000.0


def load() -> ModuleType:
    path = Path(image.__file__).parent / "shims" / "shutdown.py"
    spec = importlib.util.spec_from_file_location("shutdown_shim", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHIM = load()


@pytest.mark.parametrize(
    ("program", "arguments", "line"),
    [
        ("shutdown", [], f"schedule poweroff {int((NOON_S + 60) * 1e6)}"),
        ("shutdown", ["-h", "+120"], f"schedule poweroff {int((NOON_S + 7200) * 1e6)}"),
        ("shutdown", ["-P", "+1", "search", "is", "over"], f"schedule poweroff {int((NOON_S + 60) * 1e6)}"),
        ("shutdown", ["-r", "5"], f"schedule reboot {int((NOON_S + 300) * 1e6)}"),
        ("shutdown", ["now"], "now poweroff"),
        ("shutdown", ["-h", "now"], "now poweroff"),
        ("shutdown", ["-h", "+0"], "now poweroff"),
        ("shutdown", ["-r", "--no-wall", "now"], "now reboot"),
        ("shutdown", ["-c"], "cancel"),
        ("shutdown", ["--show"], "show"),
        ("poweroff", ["-f"], "now poweroff"),
        ("reboot", [], "now reboot"),
        ("halt", ["-p"], "now halt"),
    ],
)
def test_requests(program: str, arguments: list[str], line: str) -> None:
    assert SHIM.request(program, arguments, NOON_S) == line


@pytest.mark.parametrize("arguments", [["soon"], ["25:00"], ["12:60"], ["+x"], ["-q"], ["--reason=x"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ValueError):
        SHIM.request("shutdown", arguments, NOON_S)


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), now_s=st.integers(1_700_000_000, 1_900_000_000))
def test_a_time_of_day_is_the_next_one(hour: int, minute: int, now_s: int) -> None:
    due_s = SHIM.due_s(f"{hour:02d}:{minute:02d}", float(now_s))
    assert 0 < due_s - now_s <= 90_000  # a day, or 25 hours where a clock goes back
