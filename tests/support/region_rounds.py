# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds whose modules really run, in this process against the simulated region; hosts and probes are of the stage."""

from __future__ import annotations

import typing as t
from collections import Counter
from pathlib import Path

from ansible_collections.lowlatency.ec2.plugins.modules import (
    candidate_instance,
    candidate_instance_info,
    placement_group,
    reap,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import _raise_if_failed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.region import AL2023, TestRegion, Vpc
from support.rounds import rack_probe
from support.stage import Stage, make_round

MAINS: dict[str, t.Callable[[], None]] = {
    f"lowlatency.ec2.{module.__name__.rsplit('.', 1)[-1]}": module.main
    for module in (candidate_instance, candidate_instance_info, placement_group, reap)
}
#: The polls of a wait: while this step waits for the instance to run, it describes it again and again.
POLLED = ("launch", "DescribeInstances")


class RegionModules:
    """As ControllerModules; keeps which requests each step of a round made."""

    def __init__(self, region: TestRegion) -> None:
        self._region = region
        self.steps: list[tuple[str, Counter[str]]] = []
        #: Every call of all steps, in order.
        self.actions: list[str] = []

    def run(self, module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
        self._region.forget_calls()
        result = self._region.run_module(MAINS[module], **options, fail_ok=True)
        actions = [call.action for call in self._region.calls]
        self.actions += actions
        self.steps.append((step, Counter(actions)))
        _raise_if_failed(step, result, "BadInput")
        return result

    def take(self) -> list[tuple[str, Counter[str]]]:
        """The steps since this was asked last."""
        steps, self.steps = self.steps, []
        return steps


class RegionSlot:
    """A slot that runs round after round in a region."""

    def __init__(self, folder: Path, region: TestRegion, vpc: Vpc, **options: t.Any) -> None:
        self.modules = RegionModules(region)
        self.stage = Stage()
        self.memory = SlotMemory()
        self._folder = folder
        self._options = {
            "image_id": AL2023,
            "instance_types": ["c8g.large"],
            "key_name": vpc.key_name,
            "subnet_id": vpc.subnet_id,
            "security_group_ids": [vpc.security_group_id],
            "availability_zone": vpc.availability_zone,
            "confirm": False,
            **options,
        }

    def round(self, best_us: float) -> dict[str, t.Any]:
        """One round, whose candidate measures so much."""
        self.stage.probe = rack_probe(best_us)
        made: Round = make_round(self._folder, self.stage, self.memory, **self._options)
        made.modules = t.cast(t.Any, self.modules)
        return made.run()


def requests(steps: t.Iterable[tuple[str, Counter[str]]]) -> tuple[Counter[str], int]:
    """What these steps asked by action, without the polls of waits, and how many polls there were."""
    counts: Counter[str] = Counter()
    polls = 0
    for step, asked in steps:
        counts += asked
        if step == POLLED[0] and asked["RunInstances"]:
            # All but the first look, which finds out whether the round has an instance already.
            polls += asked[POLLED[1]] - 1
    counts[POLLED[1]] -= polls
    return counts, polls
