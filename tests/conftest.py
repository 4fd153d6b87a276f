# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that every test shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from support.busy_machine import BusyMachine
from support.durations import longest_first, recorded
from support.syn_rig import Behaviour, OpenRig, SynRig, why_not

# A busy machine is no failure of the code: what an example costs in time is never asserted.
settings.register_profile("lowlatency", deadline=None)
settings.load_profile("lowlatency")


def pytest_configure(config: pytest.Config) -> None:
    # With workers, the process that hands out tests sees the reports of all of them.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(BusyMachine(), "busy-machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = config.rootpath
    files = {place: item.path.relative_to(root).as_posix() for place, item in enumerate(items)}
    items[:] = longest_first(items, files, recorded())


@pytest.fixture
def syn_rig() -> Iterator[OpenRig]:
    """Opens rigs that know the truth: ``rig = syn_rig({"198.19.248.11": Behaviour(delay_us=100)})``.

    They are closed with the test at the latest; a test that wants their report closes them itself.
    """
    missing = why_not()
    if missing:
        pytest.skip(missing)
    with ExitStack() as rigs:

        def open_rig(behaviours: Mapping[str, Behaviour], **options: Any) -> SynRig:
            return rigs.enter_context(SynRig(behaviours, **options))

        yield open_rig
