# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""placement_group_info against the simulated region."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.modules import placement_group_info
from support.region import TestRegion, tag_specifications


@pytest.fixture
def groups(region_api: TestRegion) -> TestRegion:
    ec2 = region_api.client()
    for name, search_id, role in (("b", "tokyo", "champion"), ("a", "tokyo", "candidate"), ("c", "to*", "candidate")):
        tags = {"lowlatency:search-id": search_id, "lowlatency:role": role}
        ec2.create_placement_group(
            GroupName=name, Strategy="cluster", TagSpecifications=tag_specifications("placement-group", tags)
        )
    region_api.forget_calls()
    return region_api


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"names": ["b", "gone"]}, ["b"]),
        ({"names": ["*"]}, []),
        ({"names": []}, []),
        ({"search_id": "tokyo"}, ["a", "b"]),
        ({"search_id": "to*"}, ["c"]),
        ({"search_id": "tokyo", "tags": {"lowlatency:role": "champion"}}, ["b"]),
        ({"filters": {"tag:lowlatency:role": "cand*"}}, ["a", "c"]),
        ({"filters": {"strategy": ["spread"]}}, []),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_conditions(groups: TestRegion, options: dict[str, t.Any], names: list[str], check: bool) -> None:
    found = groups.run_module(placement_group_info.main, check=check, **options)
    assert [group["name"] for group in found["placement_groups"]] == names
    assert not found["changed"]
    assert groups.write_calls() == []
    assert len(groups.calls) <= 1


def test_a_bad_filter_is_an_error_with_its_code(groups: TestRegion) -> None:
    failed = groups.run_module(placement_group_info.main, filters={"colour": "red"}, fail_ok=True)
    assert failed["error"]["code"] == "InvalidParameterValue"
