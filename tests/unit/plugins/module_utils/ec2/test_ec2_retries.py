# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked again, how often, and how long the pauses between are."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import calls
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error
from ansible_collections.lowlatency.ec2.plugins.modules import candidate_instance_info
from local_region.api.faults import NoFaults
from support.region import TestRegion, Vpc


class Errors(NoFaults):
    """So many calls meet a code, then none."""

    def __init__(self, code: str, count: int) -> None:
        self.code, self.left = code, count

    def call_error(self, n: int, action: str) -> str | None:
        self.left -= 1
        return self.code if self.left >= 0 else None


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were wanted; none is made."""
    wanted: list[float] = []
    monkeypatch.setattr("time.sleep", wanted.append)
    return wanted


PASSING = ["RequestLimitExceeded", "Throttling", "InternalError", "ServiceUnavailable", "Unavailable"]


@pytest.mark.parametrize("code", PASSING)
def test_what_passes_is_asked_again_with_jitter(region_api: TestRegion, pauses: list[float], code: str) -> None:
    region_api.reset(faults=Errors(code, 5))
    found = region_api.run_module(candidate_instance_info.main, search_id="tokyo")
    assert found["candidates"] == []
    assert len(region_api.calls) == 6
    assert len(pauses) == 5
    assert all(pause <= limit for pause, limit in zip(pauses, (0.5, 1, 2, 4, 8)))
    # Drawn anew each time, so that controllers which were refused together do not come back together.
    assert len(set(pauses)) == 5


@pytest.mark.parametrize("code", PASSING)
def test_there_is_an_end_to_it(region_api: TestRegion, pauses: list[float], code: str) -> None:
    region_api.reset(faults=Errors(code, 1000))
    with pytest.raises(Ec2Error) as raised:
        calls.describe_instances(region_api.client(), [])
    assert raised.value.code == code
    assert len(region_api.calls) == 6
    assert sum(pauses) <= 15.5


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InvalidParameterValue", "InsufficientInstanceCapacity"])
def test_what_does_not_pass_is_asked_once(region_api: TestRegion, pauses: list[float], code: str) -> None:
    region_api.reset(faults=Errors(code, 1000))
    with pytest.raises(Ec2Error) as raised:
        calls.describe_instances(region_api.client(), [])
    assert (raised.value.code, len(region_api.calls), pauses) == (code, 1, [])


def test_an_instance_that_ec2_does_not_know_everywhere_yet_is_asked_for_again(
    region_api: TestRegion, vpc: Vpc, pauses: list[float]
) -> None:
    instance_id = region_api.launch(vpc)["InstanceId"]
    region_api.forget_calls()
    region_api.api.state.faults = Errors("InvalidInstanceID.NotFound", 3)
    assert calls.terminate_instance(region_api.client(), instance_id) in ("shutting-down", "terminated")
    assert len(region_api.calls) == 4
    # Of many at a time it is not: one that is not known must not keep the others waiting.
    region_api.forget_calls()
    region_api.api.state.faults = Errors("InvalidInstanceID.NotFound", 3)
    with pytest.raises(Ec2Error):
        calls.terminate_instances(region_api.client(), [instance_id])
    assert len(region_api.calls) == 1
