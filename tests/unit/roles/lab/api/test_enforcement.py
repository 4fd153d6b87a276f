# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls of an access key that is held to a policy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from local_region.api.enforcement import PolicyBook
from local_region.api.policies import Need, PolicyError
from support.aws import refused
from support.region import ACCESS_KEY, AL2023_ARM64

if TYPE_CHECKING:
    from support.region import TestRegion, Vpc

INSTANCES = "arn:aws:ec2:ap-northeast-1:*:instance/*"
TAGGED = {"Key": "lowlatency:search-id", "Value": "dc-machine"}


def allow(action: str | list[str], resource: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def hold(region: TestRegion, *statements: dict[str, Any]) -> None:
    """Hold the tests' own key to a policy."""
    region.api.policies.put(ACCESS_KEY, {"Version": "2012-10-17", "Statement": list(statements)})
    region.forget_calls()


def denied(region: TestRegion) -> list[tuple[str, str]]:
    """What was refused: action and the end of the resource's ARN."""
    found = region.api.policies.as_json()[ACCESS_KEY]["refused"]
    return [(one["action"], one["resource"].rpartition(":")[2]) for one in found]


def launch_request(vpc: Vpc, **more: Any) -> dict[str, Any]:
    return {
        "ImageId": AL2023_ARM64,
        "InstanceType": "c8g.large",
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": vpc.key_name,
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": vpc.subnet_id, "Groups": [vpc.security_group_id]}],
        **more,
    }


def test_a_key_without_a_policy_may_do_everything(region_api: TestRegion, vpc: Vpc) -> None:
    assert region_api.api.policies.as_json() == {}
    region_api.launch(vpc)
    region_api.api.policies.put("another", {"Version": "2012-10-17", "Statement": [allow("s3:*")]})
    region_api.launch(vpc)


def test_what_is_not_allowed_is_refused_as_ec2_does_and_logged(region_api: TestRegion) -> None:
    hold(region_api, allow("ec2:Describe*"))
    ec2 = region_api.client()
    ec2.describe_instances()
    with pytest.raises(
        ClientError, match="not authorized to perform: ec2:CreatePlacementGroup on resource: arn:"
    ) as caught:
        ec2.create_placement_group(GroupName="one", Strategy="cluster")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert caught.value.response["Error"]["Code"] == "UnauthorizedOperation"
    calls = [(call.action, call.code) for call in region_api.calls]
    assert calls == [("DescribeInstances", None), ("CreatePlacementGroup", "UnauthorizedOperation")]
    assert denied(region_api) == [("ec2:CreatePlacementGroup", "placement-group/one")]
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_permission_comes_before_a_dry_run(region_api: TestRegion) -> None:
    hold(region_api, allow("ec2:Describe*"))
    with refused("UnauthorizedOperation", 403):
        region_api.client().create_placement_group(GroupName="one", Strategy="cluster", DryRun=True)


@pytest.mark.parametrize(
    "left_out",
    ["instance", "network-interface", "volume", "image", "subnet", "security-group", "key-pair", "placement-group"],
)
def test_a_launch_needs_each_part_of_it(region_api: TestRegion, vpc: Vpc, left_out: str) -> None:
    region_api.client().create_placement_group(GroupName="one", Strategy="cluster")
    kinds = ["instance", "network-interface", "volume", "subnet", "security-group", "key-pair", "placement-group"]
    parts = [f"arn:aws:ec2:ap-northeast-1:*:{kind}/*" for kind in kinds] + ["arn:aws:ec2:ap-northeast-1::image/*"]
    parameters = allow("ssm:GetParameters", "arn:aws:ssm:ap-northeast-1::parameter/aws/service/*")
    hold(region_api, parameters, allow("ec2:RunInstances", [part for part in parts if f":{left_out}/" not in part]))
    request = launch_request(vpc, Placement={"GroupName": "one"})
    with refused("UnauthorizedOperation", 403):
        region_api.client().run_instances(**request)
    ((action, resource),) = denied(region_api)
    assert action == "ec2:RunInstances" and resource.startswith(f"{left_out}/")
    assert region_api.api.instances() == []
    hold(region_api, parameters, allow("ec2:RunInstances", parts))
    region_api.client().run_instances(**request)


def test_the_parameter_of_an_image_is_read_in_the_callers_name(region_api: TestRegion, vpc: Vpc) -> None:
    hold(region_api, allow("ec2:*"))
    with pytest.raises(ClientError, match=r"ssm:GetParameters on resource: .*:parameter/aws/service/ami-amazon-linux"):
        region_api.client().run_instances(**launch_request(vpc))


def test_tags_in_a_launch_need_create_tags_with_its_action(region_api: TestRegion, vpc: Vpc) -> None:
    request = launch_request(vpc, TagSpecifications=[{"ResourceType": "instance", "Tags": [TAGGED]}])
    hold(region_api, allow("ec2:RunInstances"), allow("ssm:*"))
    with pytest.raises(ClientError, match=r"ec2:CreateTags on resource: .*:instance/"):
        region_api.client().run_instances(**request)
    made = allow("ec2:CreateTags", INSTANCES, StringEquals={"ec2:CreateAction": "RunInstances"})
    hold(region_api, allow("ec2:RunInstances"), allow("ssm:*"), made)
    instance_id = region_api.client().run_instances(**request)["Instances"][0]["InstanceId"]
    with refused("UnauthorizedOperation", 403):
        region_api.client().create_tags(Resources=[instance_id], Tags=[TAGGED])


def test_conditions_see_what_a_launch_asks_for(region_api: TestRegion, vpc: Vpc) -> None:
    required = {"ec2:MetadataHttpTokens": "required"}
    tagged = {"aws:RequestTag/lowlatency:search-id": "false"}
    kinds = ("network-interface", "subnet", "image", "security-group", "key-pair")
    hold(
        region_api,
        allow("ec2:RunInstances", INSTANCES, StringEquals=required, Null=tagged),
        allow("ec2:RunInstances", "arn:aws:ec2:ap-northeast-1:*:volume/*", Bool={"ec2:Encrypted": "true"}),
        *(allow("ec2:RunInstances", f"arn:aws:ec2:*:*:{kind}/*") for kind in kinds),
        allow(["ec2:CreateTags", "ssm:GetParameters"], "*"),
    )
    ec2 = region_api.client()
    whole = launch_request(
        vpc,
        MetadataOptions={"HttpTokens": "required"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [TAGGED]}],
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}],
    )
    for name in ("MetadataOptions", "TagSpecifications", "BlockDeviceMappings"):
        with refused("UnauthorizedOperation", 403):
            ec2.run_instances(**{key: value for key, value in whole.items() if key != name})
    ec2.run_instances(**whole)


def test_conditions_see_the_tags_of_what_is_there(region_api: TestRegion, vpc: Vpc) -> None:
    theirs = region_api.launch(vpc)["InstanceId"]
    ours = region_api.launch(vpc, TagSpecifications=[{"ResourceType": "instance", "Tags": [TAGGED]}])["InstanceId"]
    present = {"aws:ResourceTag/lowlatency:search-id": "false"}
    hold(region_api, allow("ec2:TerminateInstances", INSTANCES, Null=present))
    ec2 = region_api.client()
    for ids in ([theirs], [ours, theirs]):
        with refused("UnauthorizedOperation", 403):
            ec2.terminate_instances(InstanceIds=ids)
    assert [one["state"] for one in region_api.api.instances()] == ["running", "running"]
    ec2.terminate_instances(InstanceIds=[ours])


def test_what_does_not_exist_is_not_found_rather_than_refused(region_api: TestRegion) -> None:
    present = {"aws:ResourceTag/lowlatency:search-id": "false"}
    hold(region_api, allow(["ec2:TerminateInstances", "ec2:DeletePlacementGroup"], "arn:aws:ec2:*:*:*", Null=present))
    with refused("InvalidInstanceID.NotFound"):
        region_api.client().terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidPlacementGroup.Unknown"):
        region_api.client().delete_placement_group(GroupName="none")


def test_an_attribute_can_be_denied(region_api: TestRegion, vpc: Vpc) -> None:
    instance_id = region_api.launch(vpc)["InstanceId"]
    only = {"ForAnyValue:StringNotEqualsIgnoreCase": {"ec2:Attribute": ["disableApiStop"]}}
    hold(
        region_api,
        allow("ec2:ModifyInstanceAttribute"),
        {**allow("ec2:ModifyInstanceAttribute", **only), "Effect": "Deny"},
    )
    ec2 = region_api.client()
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiStop={"Value": True})
    with pytest.raises(ClientError, match="explicit deny"):
        ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    with pytest.raises(ClientError, match="explicit deny"):
        ec2.modify_instance_attribute(InstanceId=instance_id, Attribute="userData", Value="eA==")


def test_tags_go_on_by_key_and_by_what_is_there(region_api: TestRegion, vpc: Vpc) -> None:
    tagged = [{"ResourceType": kind, "Tags": [TAGGED]} for kind in ("instance", "volume")]
    instance_id = region_api.launch(vpc, TagSpecifications=tagged)["InstanceId"]
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="theirs", Strategy="cluster")
    group_id = ec2.describe_placement_groups()["PlacementGroups"][0]["GroupId"]
    hold(
        region_api,
        allow(
            "ec2:CreateTags",
            "arn:aws:ec2:*:*:*",
            Null={"aws:ResourceTag/lowlatency:search-id": "false"},
            **{"ForAllValues:StringLike": {"aws:TagKeys": "lowlatency:*"}},
        ),
    )
    ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "lowlatency:role", "Value": "champion"}])
    with refused("UnauthorizedOperation", 403):
        ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "Name", "Value": "x"}])
    with refused("UnauthorizedOperation", 403):
        ec2.create_tags(Resources=[instance_id, group_id], Tags=[TAGGED])
    assert denied(region_api)[-1] == ("ec2:CreateTags", "placement-group/theirs")


def test_other_services_are_held_to_it_too(region_api: TestRegion) -> None:
    name = AL2023_ARM64.removeprefix("resolve:ssm:")
    bucket = allow("s3:GetObject", "arn:aws:s3:::state/*")
    region_api.client("s3").create_bucket(
        Bucket="state", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
    )
    region_api.client("s3").put_object(Bucket="state", Key="champion", Body=b"{}")
    hold(region_api, bucket, allow("ssm:GetParameter", "arn:aws:ssm:*::parameter/aws/service/*"))
    assert region_api.client("sts").get_caller_identity()["Account"]
    assert region_api.client("ssm").get_parameter(Name=name)["Parameter"]["Value"].startswith("ami-")
    assert region_api.client("s3").get_object(Bucket="state", Key="champion")["Body"].read() == b"{}"
    with refused("AccessDenied", 403):
        region_api.client("s3").put_object(Bucket="state", Key="champion", Body=b"")
    with refused("AccessDeniedException", 400):
        region_api.client("ssm").get_parameter(Name="/own/secret")
    with refused("AccessDenied", 403):
        region_api.client("iam").list_users()
    assert [call.code for call in region_api.calls] == [None, None, None, "403", "400", "403"]
    assert denied(region_api) == [
        ("s3:PutObject", "state/champion"),
        ("ssm:GetParameter", "parameter/own/secret"),
        ("iam:ListUsers", "*"),
    ]


def test_policies_can_stand_from_the_beginning() -> None:
    book = PolicyBook({"one": {"Version": "2012-10-17", "Statement": [allow("ec2:Describe*")]}})
    assert book.holds("one") and not book.holds("two")
    assert book.refused("one", [Need("ec2:DescribeVpcs", "*", {})]) is None
    assert book.refused("one", [Need("ec2:CreateVpc", "*", {})]) is not None
    assert book.refused("two", [Need("ec2:CreateVpc", "*", {})]) is None
    with pytest.raises(PolicyError, match=r"^two: Version"):
        PolicyBook({"two": {}})


def ask(region: TestRegion, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(region.endpoint_url + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_policies_are_set_shown_and_dropped_over_http(region_api: TestRegion) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{**allow("ec2:DescribeInstances"), "Sid": "Look"}]}
    assert ask(region_api, "PUT", f"/lab/policies/{ACCESS_KEY}", json.dumps(policy).encode())[0] == 200
    region_api.client().describe_instances()
    with refused("UnauthorizedOperation", 403):
        region_api.client().describe_vpcs()
    shown = ask(region_api, "GET", "/lab/policies")[1]
    assert shown == {
        ACCESS_KEY: {
            "policy": policy,
            "used": {"ec2:DescribeInstances": ["Look"]},
            "refused": [{"action": "ec2:DescribeVpcs", "resource": "*"}],
        }
    }
    assert ask(region_api, "DELETE", f"/lab/policies/{ACCESS_KEY}") == (200, {"dropped": True})
    region_api.client().describe_vpcs()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("PUT", "/lab/policies/key", b"{", 400, "Expecting"),
        ("PUT", "/lab/policies/key", b'{"Version": "2012-10-17"}', 400, "key: Statement"),
        ("PUT", "/lab/policies", b"{}", 405, "ACCESS-KEY"),
        ("POST", "/lab/policies/key", b"{}", 405, "ACCESS-KEY"),
    ],
)
def test_what_is_no_policy_is_refused(
    region_api: TestRegion, method: str, path: str, body: bytes, status: int, told: str
) -> None:
    code, answer = ask(region_api, method, path, body)
    assert code == status and told in answer["error"]
    assert region_api.api.policies.as_json() == {}
