# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server itself: its fixtures, its call log, its own paths, and many clients at once."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from botocore.exceptions import ClientError
from local_region.api.faults import NoFaults
from local_region.api.region_state import Quotas
from local_region.api.server import RegionApi
from local_region.hosts.backend import NullHosts
from support.aws import refused
from support.region import ACCESS_KEY, ELASTIC_POOL, PUBLIC_POOL, rack_for


def test_a_write_is_counted_and_a_read_is_not(region_api):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="one", Strategy="cluster")
    ec2.describe_placement_groups()
    with refused("DryRunOperation", status=412):
        ec2.create_placement_group(GroupName="two", Strategy="cluster", DryRun=True)
    with refused("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="one", Strategy="cluster")
    assert region_api.write_calls() == ["CreatePlacementGroup", "CreatePlacementGroup"]
    assert [(call.action, call.code) for call in region_api.calls] == [
        ("CreatePlacementGroup", None),
        ("DescribePlacementGroups", None),
        ("CreatePlacementGroup", "DryRunOperation"),
        ("CreatePlacementGroup", "InvalidPlacementGroup.Duplicate"),
    ]


def test_calls_tell_when_and_who(region_api):
    before_s = time.time()
    region_api.client().describe_placement_groups()
    between_s = time.time()
    region_api.client("sts").get_caller_identity()
    first, second = region_api.calls
    assert before_s <= first.at_s <= between_s <= second.at_s
    assert first.monotonic_s <= second.monotonic_s
    assert (first.service, second.service) == ("ec2", "sts")
    assert first.access_key == second.access_key == ACCESS_KEY
    assert first.region == "ap-northeast-1"
    assert "Boto3" in first.user_agent
    assert (second.action, second.write) == ("GetCallerIdentity", False)


def test_calls_and_instances_as_json(region_api, vpc):
    instance_id = region_api.launch(vpc, ClientToken="token-1")["InstanceId"]
    (call,) = region_api.get("/lab/calls")
    assert (call["action"], call["write"], call["client_token"]) == ("RunInstances", True, "token-1")
    assert region_api.get(f"/lab/calls?since={call['at_s'] + 0.001}") == []
    (shown,) = region_api.get("/lab/instances")
    assert shown["instance_id"] == instance_id
    assert (shown["state"], shown["rack"], shown["placement_group"]) == ("running", "rack-00", None)
    assert (shown["instance_type"], shown["private_ip_address"]) == ("c8g.large", "198.18.0.4")


def test_a_region_is_put_back_over_http(region_api, vpc):
    region_api.launch(vpc)
    region_api.client("s3").create_bucket(
        Bucket="state", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
    )
    assert region_api.post("/lab/reset") == {"leftovers": []}
    assert region_api.get("/lab/instances") == region_api.get("/lab/calls") == []
    assert region_api.client().describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [vpc.vpc_id]}])["Vpcs"] == []
    assert region_api.client("s3").list_buckets()["Buckets"] == []


def test_a_region_is_not_put_back_by_a_look(region_api):
    with pytest.raises(urllib.error.HTTPError) as caught:
        region_api.get("/lab/reset")
    assert caught.value.code == 405


def test_hosts_that_outlive_a_reset_are_heard_by_the_region_as_it_is_now(region_api):
    hosts = NullHosts()
    region_api.reset(hosts=hosts)
    region_api.api.reset()
    instance_id = region_api.launch(region_api.make_vpc())["InstanceId"]
    hosts.shut_down_from_inside(instance_id)
    assert region_api.states(instance_id) == ["stopped"]


@pytest.mark.parametrize(
    ("path", "status"), [("/lab/nothing", 404), ("/lab/calls?since=now", 400), ("/moto-api/", 404)]
)
def test_other_paths(region_api, path, status):
    with pytest.raises(urllib.error.HTTPError) as caught:
        region_api.get(path)
    assert caught.value.code == status


def test_s3_writes_are_logged_too(region_api):
    s3 = region_api.client("s3")
    s3.create_bucket(Bucket="state", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
    s3.put_object(Bucket="state", Key="champion", Body=b"{}", IfNoneMatch="*")
    with pytest.raises(ClientError):
        s3.put_object(Bucket="state", Key="champion", Body=b"{}", IfNoneMatch="*")
    s3.get_object(Bucket="state", Key="champion")
    logged = [(call.service, call.action, call.write, call.code) for call in region_api.calls]
    assert logged == [
        ("s3", "PUT", True, None),
        ("s3", "PUT", True, None),
        ("s3", "PUT", True, "412"),
        ("s3", "GET", False, None),
    ]


def test_what_is_not_simulated_is_an_error_of_ec2(region_api):
    with refused("UnsupportedOperation"):
        region_api.client().describe_capacity_reservations()
    region_api.client().allocate_address(Domain="vpc")
    with refused("UnsupportedOperation"):
        region_api.client().describe_addresses(Filters=[{"Name": "network-interface-owner-id", "Values": ["x"]}])


def test_reset_forgets_all(region_api, vpc):
    region_api.launch(vpc)
    region_api.client().create_placement_group(GroupName="one", Strategy="cluster")
    region_api.reset()
    ec2 = region_api.client()
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_placement_groups()["PlacementGroups"] == []
    assert region_api.hosts.events == []
    assert [call.action for call in region_api.calls] == ["DescribeInstances", "DescribePlacementGroups"]


def test_listener_hears_of_changes_but_not_of_reads(region_api):
    heard = []
    region_api.reset(on_change=lambda: heard.append([one["state"] for one in region_api.api.instances()]))
    vpc = region_api.make_vpc()
    heard.clear()
    instance_id = region_api.launch(vpc)["InstanceId"]
    region_api.api.state.settle()
    assert heard[-1] == ["running"]
    region_api.client().describe_placement_groups()
    region_api.api.state.settle()
    count = len(heard)
    region_api.client().describe_placement_groups()
    region_api.api.state.settle()
    assert len(heard) == count
    region_api.client().terminate_instances(InstanceIds=[instance_id])
    region_api.api.state.settle()
    assert heard[-1] in (["shutting-down"], ["terminated"])


def test_eight_clients_at_once(region_api):
    """Names stay unique, quotas hold, addresses are given once, and every host is asked for once."""
    region_api.reset(quotas=Quotas(on_demand_vcpus=40, elastic_addresses=5))
    vpc = region_api.make_vpc()
    ec2 = region_api.client()
    ec2.modify_subnet_attribute(SubnetId=vpc.subnet_id, MapPublicIpOnLaunch={"Value": True})
    start = threading.Barrier(8)

    def work(worker):
        start.wait(timeout=30)
        codes = []
        for number in range(4):
            calls = (
                partial(ec2.create_placement_group, GroupName=f"group-{number}", Strategy="cluster"),
                partial(ec2.allocate_address, Domain="vpc"),
                partial(region_api.launch, vpc, ClientToken=f"{worker // 2}-{number}"),
                ec2.describe_instances,
                partial(ec2.create_tags, Resources=[vpc.vpc_id], Tags=[{"Key": f"{worker}-{number}", "Value": "x"}]),
            )
            for call in calls:
                try:
                    call()
                except ClientError as error:
                    codes.append(error.response["Error"]["Code"])
        return codes

    with ThreadPoolExecutor(8) as pool:
        codes = [code for worker in pool.map(work, range(8)) for code in worker]

    instances = [one for each in ec2.describe_instances()["Reservations"] for one in each["Instances"]]
    assert len(ec2.describe_placement_groups()["PlacementGroups"]) == 4
    assert codes.count("InvalidPlacementGroup.Duplicate") == 28
    assert len(ec2.describe_addresses()["Addresses"]) == 5
    assert codes.count("AddressLimitExceeded") == 27
    assert len(instances) == 16
    assert set(codes) == {"InvalidPlacementGroup.Duplicate", "AddressLimitExceeded"}
    for name in ("PrivateIpAddress", "PublicIpAddress", "InstanceId", "ClientToken"):
        assert len({one[name] for one in instances}) == 16
    assert sorted(region_api.hosts.events) == sorted(("launch", one["InstanceId"]) for one in instances)
    assert len(ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [vpc.vpc_id]}])["Tags"]) == 32


def test_quota_holds_against_eight_clients(region_api):
    region_api.reset(quotas=Quotas(on_demand_vcpus=10))
    vpc = region_api.make_vpc()

    def launch(_worker):
        try:
            region_api.launch(vpc)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(launch, range(16)))
    assert outcomes.count(None) == 5
    assert outcomes.count("VcpuLimitExceeded") == 11


def test_a_host_that_calls_back_from_where_it_was_asked(region_api):
    """A backend may tell of a shutdown from inside any of its own methods: nothing waits for itself."""

    class Eager(NullHosts):
        def launch(self, spec):
            super().launch(spec)
            self.shut_down_from_inside(spec.instance_id)

    region_api.reset(hosts=Eager())
    vpc = region_api.make_vpc()
    instance_id = region_api.launch(vpc, InstanceInitiatedShutdownBehavior="terminate")["InstanceId"]
    region_api.api.state.settle()
    assert region_api.states(instance_id) == ["terminated"]


@pytest.fixture
def make_api(region_server):
    """A function that makes another API; afterwards the session's own is bound to moto again."""

    def make(port, **options):
        return RegionApi(
            port=port,
            hosts=NullHosts(),
            faults=NoFaults(),
            rack_for=rack_for,
            public_pool=PUBLIC_POOL,
            elastic_pool=ELASTIC_POOL,
            **options,
        )

    yield make
    region_server.reset()


def test_serves_on_the_loopback_address_until_it_is_stopped(make_api):
    api = make_api(0)
    url = api.start()
    assert url.startswith("http://127.0.0.1:")
    port = int(url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=60):
        pass
    api.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)


def test_port_in_use_is_an_error(make_api):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        api = make_api(taken.getsockname()[1])
        with pytest.raises(OSError):
            api.start()
        api.stop()


def test_what_a_reset_could_not_remove_is_named(make_api):
    api = make_api(0, on_reset=lambda: ["instance i-1"])
    url = api.start()
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{url}/lab/reset", method="POST"), timeout=60)
        assert caught.value.code == 500
        assert json.load(caught.value) == {"leftovers": ["instance i-1"]}
    finally:
        api.stop()


def test_images_are_as_new_after_a_reset(region_api):
    ec2 = region_api.client()
    images = ec2.describe_images(Owners=["amazon"])["Images"]
    assert len(images) > 100
    backend = region_api.api.state.backend
    changed, gone = images[0]["ImageId"], images[1]["ImageId"]
    backend.amis[changed].launch_permissions.append({"UserId": "123456789012"})
    backend.amis[changed].description = "changed"
    backend.amis[changed].ebs_snapshot.create_volume_permission_userids.add("123456789012")
    del backend.amis[gone]
    region_api.reset()
    assert ec2.describe_images(Owners=["amazon"])["Images"] == images
    as_new = region_api.api.state.backend.amis[changed]
    assert {"UserId": "123456789012"} not in as_new.launch_permissions
    assert as_new.ebs_snapshot.create_volume_permission_userids == set()
    assert as_new.ebs_snapshot is region_api.api.state.backend.snapshots[as_new.ebs_snapshot.id]
