# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of an interrupted round, act by act, where EC2 is slow: time passes only in its pauses."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.acts import EMPTIES_S, IN_USE, Candidate, Ending

INTENT = Intent(
    round_id="test-1753162526-slot-1-0a1b",
    search_id="test",
    slot="slot-1",
    owner="elsewhere:1:1:slot-1",
    group="dc-1",
    expires_at="2030-01-01T00:00:00+00:00",
    began_at="2025-07-22T05:35:26+00:00",
    step="launch",
)


class GroupInUse(Ending):
    """The end of a round whose group EC2 never lets go, with these instances in it."""

    def __init__(self, holds: list[Candidate]) -> None:
        self.now_s = 0.0
        self._holds = holds
        nothing: t.Any = None
        super().__init__(
            INTENT, client=nothing, store=nothing, cancel_timer=nothing, clock=lambda: self.now_s, sleep=self._pass
        )

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds

    def _instances(self) -> list[Candidate]:
        return []

    def _end_replaced(self) -> None:
        pass

    def _deleted(self, name: str) -> bool:
        return False

    def _held(self, name: str) -> list[Candidate]:
        return self._holds


@pytest.mark.parametrize(
    ("holds", "why"),
    [
        ([], IN_USE),
        ([{"instance_id": "i-1", "state": "shutting-down"}], "i-1 is shutting-down"),
    ],
)
def test_a_group_that_does_not_empty_in_time_is_left_with_its_name_and_the_reason(
    holds: list[Candidate], why: str
) -> None:
    ending = GroupInUse(holds)
    ending.run()
    assert ending.left == [{"kind": "placement_group", "id": "dc-1", "why": why}]
    assert ending.now_s == EMPTIES_S


def test_the_group_of_an_instance_that_stays_is_not_waited_for() -> None:
    ending = GroupInUse([{"instance_id": "i-1", "state": "running"}])
    ending.run()
    assert (ending.left, ending.now_s) == ([], 0.0)
