# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fails a run in which too many of the tests that measure could not, because the machine was busy."""

from __future__ import annotations

import pytest

#: How a test says that other work on the machine left it nothing to judge: pytest.skip(f"{TOO_BUSY}why").
TOO_BUSY = "too busy: "
MARKER = "measures"
#: The share of tests marked `measures` that may end so.
MOST = 0.1


class BusyMachine:
    """A pytest plugin that counts the tests that measure, and those that were too busy to."""

    def __init__(self) -> None:
        self.measuring: set[str] = set()
        self.too_busy: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reason = _reason(report)
        if MARKER in report.keywords:
            self.measuring.add(report.nodeid)
        if reason is not None:
            # One that says so without the mark is counted too, so that no skip goes by unseen.
            self.measuring.add(report.nodeid)
            self.too_busy[report.nodeid] = reason

    @property
    def too_many(self) -> bool:
        """Whether the run proves too little of what it measures."""
        return len(self.too_busy) > MOST * len(self.measuring)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.too_many and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.measuring:
            return
        verdict = f"more than {MOST:.0%}: the run fails" if self.too_many else f"at most {MOST:.0%} may be"
        terminalreporter.write_line(
            f"{len(self.too_busy)} of {len(self.measuring)} tests that measure were too busy ({verdict})",
            red=self.too_many,
        )
        for nodeid, reason in sorted(self.too_busy.items()):
            terminalreporter.write_line(f"  {nodeid}: {reason}")


def _reason(report: pytest.TestReport) -> str | None:
    """Why a test was too busy to measure, or None."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    said = report.longrepr[2].removeprefix("Skipped: ")
    return said.removeprefix(TOO_BUSY) if said.startswith(TOO_BUSY) else None
