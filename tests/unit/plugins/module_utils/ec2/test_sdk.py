# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boto3 that is too old is refused before the first request, and the installed one knows all of our requests."""

from __future__ import annotations

import inspect
import sys
import typing as t
from datetime import datetime, timezone

import boto3
import botocore
import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import calls, prices
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.groups import WantedGroup
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.launch_plan import launch_request
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.sdk import MINIMUM_SDK
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import S3ChampionStore
from ansible_collections.lowlatency.ec2.plugins.modules import candidate_instance, champion, placement_group, reap
from support.region import TestRegion

INSTANCE = "i-0123456789abcdef0"
TAGS = {"lowlatency:role": "candidate"}


class Sent(Exception):
    """botocore has found nothing wrong with a request, and would send it now."""


def client_that_sends_nothing(service: str) -> t.Any:
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")

    def stop(**_event: t.Any) -> None:
        raise Sent

    client.meta.events.register("before-call", stop)
    return client


def launch() -> dict[str, t.Any]:
    """The request for a launch that makes use of every option."""
    options: dict[str, t.Any] = {
        name: {"str": "text", "int": 8, "bool": True, "list": ["text"], "dict": TAGS}[spec["type"]]
        for name, spec in candidate_instance.ARGUMENT_SPEC.items()
    }
    options |= {"market": "spot", "placement_group_strategy": "cluster", "shutdown_behavior": "terminate"}
    return launch_request(options, "c8g.medium", "ami-1", "/dev/xvda", "token")


#: By call, the arguments after the client.
EC2_CALLS: dict[str, tuple[t.Any, ...]] = {
    "describe_instances": ([{"Name": "tag-key", "Values": ["key"]}],),
    "describe_instances_by_id": ([INSTANCE],),
    "get_console_output": (INSTANCE,),
    "describe_instance_attribute": (INSTANCE, "disableApiStop"),
    "modify_instance_attribute": (INSTANCE, "disableApiStop", True),
    "modify_instance_maintenance_options": (INSTANCE, {"AutoRecovery": "disabled", "RebootMigration": "disabled"}),
    "describe_instance_status": ([INSTANCE],),
    "describe_instance_types": (["c8g.medium"],),
    "describe_images": (["ami-1"],),
    "describe_subnet": ("subnet-1",),
    "terminate_instances": ([INSTANCE],),
    "terminate_instance": (INSTANCE,),
    "create_tags": ([INSTANCE], TAGS),
    "delete_tags": ([INSTANCE], ["key"]),
    "describe_placement_groups_by_name": (["group"],),
    "describe_placement_groups": ([{"Name": "tag-key", "Values": ["key"]}],),
    "delete_placement_group": ("group",),
    "describe_addresses": ([INSTANCE],),
    "disassociate_address": ("eipassoc-1",),
}


def test_the_table_names_each_call() -> None:
    functions = inspect.getmembers(calls, inspect.isfunction)
    ours = {name for name, one in functions if one.__module__ == calls.__name__ and not name.startswith("_")}
    assert ours - {"run_instances", "create_placement_group", "get_parameter"} == set(EC2_CALLS)


@pytest.mark.parametrize("call", EC2_CALLS)
def test_the_installed_botocore_knows_the_request(call: str) -> None:
    with pytest.raises(Sent):
        getattr(calls, call)(client_that_sends_nothing("ec2"), *EC2_CALLS[call])


@pytest.mark.parametrize("strategy", [{"strategy": "partition", "partition_count": 2}, {"strategy": "spread"}])
def test_it_knows_the_request_for_a_group(strategy: dict[str, t.Any]) -> None:
    spread_level = "rack" if strategy["strategy"] == "spread" else None
    wanted = WantedGroup(**{"name": "group", "tags": TAGS, "spread_level": spread_level, **strategy})
    with pytest.raises(Sent):
        calls.create_placement_group(client_that_sends_nothing("ec2"), **wanted.request())


def test_it_knows_the_request_for_a_launch() -> None:
    with pytest.raises(Sent):
        calls.run_instances(client_that_sends_nothing("ec2"), **launch())


def test_it_knows_the_requests_for_prices_and_parameters() -> None:
    with pytest.raises(Sent):
        calls.get_parameter(client_that_sends_nothing("ssm"), "/aws/service/name")
    with pytest.raises(Sent):
        prices.get_products(client_that_sends_nothing("pricing"), "ap-northeast-1", "c8g.medium")
    with pytest.raises(Sent):
        now = datetime.now(timezone.utc)
        prices.describe_spot_price_history(client_that_sends_nothing("ec2"), ["c8g.medium"], now)


@pytest.mark.parametrize("etag", [None, '"etag"'])
def test_it_knows_the_conditional_writes_of_s3(etag: str | None) -> None:
    store = S3ChampionStore(client_that_sends_nothing("s3"), "bucket", "key")
    with pytest.raises(Sent):
        store._put(b"{}", etag, ("write",))


def test_it_knows_the_other_requests_of_s3() -> None:
    store = S3ChampionStore(client_that_sends_nothing("s3"), "bucket", "key")
    with pytest.raises(Sent):
        store._copy('"etag"', "stamp", None)
    with pytest.raises(Sent):
        store.swap(0, State(search_id="s"))


@pytest.mark.parametrize("package", [boto3, botocore])
@pytest.mark.parametrize(
    ("module", "options"),
    [
        (candidate_instance, {"round_id": "round", "instance_types": ["c8g.medium"], "image_id": "ami-1"}),
        (champion, {"search_id": "tokyo", "store": "s3://bucket/key"}),
        (placement_group, {"name": "group"}),
        (reap, {"search_id": "tokyo"}),
    ],
)
def test_an_older_one_is_refused_before_the_first_request(
    region_api: TestRegion, monkeypatch: pytest.MonkeyPatch, package: t.Any, module: t.Any, options: dict[str, t.Any]
) -> None:
    monkeypatch.setattr(package, "__version__", "1.9.0")
    failed = region_api.run_module(module.main, fail_ok=True, **options)
    name = package.__name__
    assert failed["msg"] == (
        f"lowlatency.ec2 needs {name} {MINIMUM_SDK} or later, and {sys.executable} has {name} 1.9.0."
    )
    assert region_api.calls == []


@pytest.mark.parametrize("version", [MINIMUM_SDK, "1.100.0"])
def test_the_minimum_and_later_ones_are_taken(
    region_api: TestRegion, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(boto3, "__version__", version)
    monkeypatch.setattr(botocore, "__version__", version)
    assert region_api.run_module(placement_group.main, name="group")["changed"]
