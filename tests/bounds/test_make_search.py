# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of `make search` seat a champion. tools/bounds.sh runs this with the oldest and newest dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import Lab, free_index

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

ROUNDS = 2


@pytest.fixture
def bare_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that lab.yml brings up and takes down, without a network."""
    with free_index() as index:
        lab = Lab(index, tmp_path, {"probe_samples": 200})
        try:
            lab.play("lab")
            yield lab
        finally:
            lab.play("lab", lab_state="absent")


def test_a_champion_is_seated_and_protected(bare_lab: Lab) -> None:
    bare_lab.play("setup")
    no_anchor = {"median_us": 1, "best_us": 1}
    bare_lab.play("search", search_slot_count=1, search_max_rounds=ROUNDS, search_criteria=no_anchor)
    assert [each["failure"] for each in bare_lab.rounds()] == [None] * ROUNDS
    champion = bare_lab.state()["champion"]["instance_id"]
    assert [each["instance_id"] for each in bare_lab.instances()] == [champion]
    ec2 = bare_lab.client("ec2")
    seen = ec2.describe_instances(InstanceIds=[champion])["Reservations"][0]["Instances"][0]
    assert seen["MaintenanceOptions"] == {"AutoRecovery": "disabled", "RebootMigration": "disabled"}
    protection = ec2.describe_instance_attribute(InstanceId=champion, Attribute="disableApiTermination")
    assert protection["DisableApiTermination"] == {"Value": True}
