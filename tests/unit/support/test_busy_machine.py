# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run in which more than a tenth of the tests that measure were too busy fails, and says which."""

from __future__ import annotations

import os

import pytest
from support.busy_machine import BusyMachine
from support.lab_index import ROOT

pytest_plugins = ["pytester"]

CONFTEST = """
from support.busy_machine import BusyMachine

def pytest_configure(config):
    config.addinivalue_line("markers", "measures: as in the suite")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(BusyMachine())
"""


def outcome(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, busy: int, *options: str) -> str:
    """Run twenty tests that measure, some of which were too busy; return what was printed, with the exit code."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("number", range(20))
        @pytest.mark.measures
        def test_measures(number):
            if number < {busy}:
                pytest.skip("too busy: the rig was away")

        def test_of_no_measure():
            pytest.skip("needs another machine")
        """
    )
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT / "tests"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "xdist.plugin", *options)
    return f"{result.ret:d}\n{result.stdout}"


@pytest.mark.parametrize(("busy", "options"), [(2, ()), (3, ("-n", "2"))], ids=["one process", "workers"])
def test_a_tenth_may_be_too_busy_and_no_more(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, busy: int, options: tuple[str, ...]
) -> None:
    printed = outcome(pytester, monkeypatch, busy, *options)
    assert printed.startswith("1\n" if busy == 3 else "0\n")
    assert f"{busy} of 20 tests that measure were too busy" in printed
    assert printed.count(": the rig was away") == busy
    assert ("the run fails" in printed) == (busy == 3)


def report(name: str, *, skip: str | None = None, marked: bool = True) -> pytest.TestReport:
    """The report of a test's call."""
    return pytest.TestReport(
        nodeid=name,
        location=("test_it.py", 1, name),
        keywords={"measures": 1} if marked else {},
        outcome="passed" if skip is None else "skipped",
        longrepr=None if skip is None else ("test_it.py", 1, f"Skipped: {skip}"),
        when="call",
    )


@pytest.mark.parametrize(
    ("last", "too_many"),
    [
        (report("last"), False),
        (report("last", skip="needs root"), False),
        (report("last", skip="too busy: away"), True),
        (report("last", skip="too busy: away", marked=False), True),
        (report("last", skip="needs root", marked=False), False),
    ],
)
def test_a_skip_counts_when_it_says_that_the_machine_was_busy(last: pytest.TestReport, too_many: bool) -> None:
    counted = BusyMachine()
    for number in range(17):
        counted.pytest_runtest_logreport(report(str(number)))
    counted.pytest_runtest_logreport(report("one", skip="too busy: away"))
    assert not counted.too_many
    counted.pytest_runtest_logreport(last)
    assert counted.too_many == too_many
