# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input is refused in one line that names the option and the value."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import (
    ARGUMENT_SPEC,
    OptionError,
    RoundOptions,
    check_slots,
)


@pytest.fixture
def args(tmp_path: Path) -> dict[str, t.Any]:
    key = tmp_path / "key.pem"
    key.write_text("key", encoding="utf-8")
    given = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    return {
        **given,
        "endpoints": [{"name": "fstream-mm", "host": "fstream-mm.binance.com", "port": 443, "addresses": []}],
        "image_id": "ami-1",
        "instance_types": ["c8g.large"],
        "key_name": "dc-machine",
        "key_path": str(key),
        "primary_endpoint": "fstream-mm",
        "probe": {"samples": 100},
        "region": "ap-northeast-1",
        "reports_dir": str(tmp_path),
        "search_id": "test",
        "security_group_ids": ["sg-1"],
        "subnet_id": "subnet-1",
    }


def test_good_options_pass(args: dict[str, t.Any]) -> None:
    options = RoundOptions.from_args(args)
    assert options.samples == 100
    assert (options.statistic, options.confirm, options.probe_connect) == ("best", True, "blocking")
    assert options.aws == {"region": "ap-northeast-1"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"primary_endpoint": "nowhere"}, "search_primary_endpoint: 'nowhere'"),
        ({"endpoints": []}, "search_endpoints: [] is empty"),
        ({"instance_types": []}, "search_instance_types: [] is empty"),
        ({"probe": {"samples": 0}}, "probe_samples: 0"),
        ({"criteria": {"best_min_hits": 101}}, "search_criteria.best_min_hits: 101 is more than an address has"),
        ({"max_rounds": 0}, "search_max_rounds: 0"),
        ({"qualified_wanted": -1}, "search_qualified_wanted: -1"),
        ({"candidate_lifetime_min": 1}, "search_candidate_lifetime_min: 1"),
        ({"key_path": "/nonexistent/key"}, "search_key_path: '/nonexistent/key' is no file"),
        ({"connect": "eip"}, "search_connect: 'eip' needs"),
        ({"champion_store": "s3://Bucket"}, "search_champion_store: 's3://Bucket' is not s3://BUCKET/KEY"),
        ({"champion_store": "dynamodb:x"}, "search_champion_store: 'dynamodb:x' is not s3://BUCKET/KEY; null keeps"),
        ({"champion_store": ""}, "search_champion_store: '' is not"),
        ({"tags": {f"t{number}": "" for number in range(26)}}, "tags: 26 are too many: AWS allows 50"),
    ],
)
def test_bad_input_is_named(args: dict[str, t.Any], changed: dict[str, t.Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        RoundOptions.from_args({**args, **changed})
    message = str(caught.value)
    assert message.startswith(named)
    assert "\n" not in message


def test_hits_are_no_matter_where_no_best_is_asked_for(args: dict[str, t.Any]) -> None:
    criteria = {"best_us": None, "best_min_hits": 101}
    assert RoundOptions.from_args({**args, "criteria": criteria}).criteria == criteria


def test_an_endpoint_named_twice(args: dict[str, t.Any]) -> None:
    with pytest.raises(OptionError, match="twice"):
        RoundOptions.from_args({**args, "endpoints": args["endpoints"] * 2})


def test_more_slots_than_forks_names_the_number_to_set() -> None:
    check_slots(5, 5, "public")
    with pytest.raises(OptionError, match=r"search_slot_count: 6 .*--forks 6"):
        check_slots(6, 5, "public")


def test_one_elastic_ip_serves_one_slot() -> None:
    check_slots(1, 5, "eip")
    with pytest.raises(OptionError, match="search_connect"):
        check_slots(2, 5, "eip")
