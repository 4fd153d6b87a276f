# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin calls of the EC2 API: one function a call, explicit values in, botocore's plain structures out.

Private to lowlatency.ec2: its interface may change at any time.

The retry is the innermost decorator and the error handler the outermost. All raise C(Ec2Error).
"""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import ansible_dict_to_boto3_tag_list

from .client import (
    AddressErrors,
    Client,
    InstanceErrors,
    PlacementGroupErrors,
    retry_call,
    retry_launch,
    retry_new,
)

Boto = dict[str, t.Any]
Filters = list[dict[str, t.Any]]


# The most that DescribeInstances gives at a time. Asked for, because EC2 throttles requests without a limit sooner; not
# together with ids, which EC2 refuses.
PAGE_SIZE = 1000


def _instances(client: Client, **arguments: t.Any) -> list[Boto]:
    answer = client.get_paginator("describe_instances").paginate(**arguments).build_full_result()
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


@InstanceErrors.common_error_handler("describe instances")
@retry_call
def describe_instances(client: Client, filters: Filters) -> list[Boto]:
    """All instances that the filters let through, all pages."""
    return _instances(client, Filters=filters, PaginationConfig={"PageSize": PAGE_SIZE})


@InstanceErrors.list_error_handler("describe instances", [])
@retry_call
def describe_instances_by_id(client: Client, instance_ids: list[str]) -> list[Boto]:
    """The instances with these ids; none if EC2 does not know one of them (yet)."""
    return _instances(client, InstanceIds=instance_ids)


@InstanceErrors.common_error_handler("get the console output of an instance")
@retry_call
def get_console_output(client: Client, instance_id: str) -> str:
    """The console's output as it is now; what EC2 kept of it on a type that cannot be asked for that."""
    try:
        answer = client.get_console_output(InstanceId=instance_id, Latest=True)
    except is_boto3_error_code("UnsupportedOperation"):
        answer = client.get_console_output(InstanceId=instance_id)
    return str(answer.get("Output") or "")


@InstanceErrors.common_error_handler("describe an attribute of an instance")
@retry_new
def describe_instance_attribute(client: Client, instance_id: str, attribute: str) -> str | bool:
    """One attribute's value: C(disableApiTermination), C(disableApiStop), C(instanceInitiatedShutdownBehavior)."""
    answer = client.describe_instance_attribute(InstanceId=instance_id, Attribute=attribute)
    return answer[attribute[0].upper() + attribute[1:]]["Value"]


@InstanceErrors.common_error_handler("modify an attribute of an instance")
@retry_new
def modify_instance_attribute(client: Client, instance_id: str, attribute: str, value: str | bool) -> None:
    """Set one attribute of C(describe_instance_attribute)."""
    client.modify_instance_attribute(InstanceId=instance_id, **{attribute[0].upper() + attribute[1:]: {"Value": value}})


@InstanceErrors.common_error_handler("modify the maintenance options of an instance")
@retry_new
def modify_instance_maintenance_options(client: Client, instance_id: str, wanted: t.Mapping[str, str]) -> None:
    """Set C(AutoRecovery) and C(RebootMigration), each V(default) or V(disabled); DescribeInstances shows them."""
    client.modify_instance_maintenance_options(InstanceId=instance_id, **wanted)


@InstanceErrors.common_error_handler("describe the status of instances")
@retry_new
def describe_instance_status(client: Client, instance_ids: list[str]) -> list[Boto]:
    """Checks and scheduled events of these instances, at most a hundred, in any state."""
    answer = client.describe_instance_status(InstanceIds=instance_ids, IncludeAllInstances=True)
    return answer["InstanceStatuses"]


@InstanceErrors.common_error_handler("describe instance types")
@retry_call
def describe_instance_types(client: Client, instance_types: list[str]) -> list[Boto]:
    """What EC2 knows of these types in one call. Types that the region does not have are missing from the answer."""
    filters = [{"Name": "instance-type", "Values": instance_types}]
    pages = client.get_paginator("describe_instance_types").paginate(Filters=filters)
    return pages.build_full_result()["InstanceTypes"]


@InstanceErrors.common_error_handler("describe images")
@retry_call
def describe_images(client: Client, image_ids: list[str]) -> list[Boto]:
    """The images with these ids."""
    return client.describe_images(ImageIds=image_ids)["Images"]


@InstanceErrors.common_error_handler("read the image parameter")
@retry_call
def get_parameter(ssm_client: Client, name: str) -> str:
    """A parameter's value from the SSM parameter store."""
    return ssm_client.get_parameter(Name=name)["Parameter"]["Value"]


@InstanceErrors.common_error_handler("describe the subnet")
@retry_call
def describe_subnet(client: Client, subnet_id: str) -> Boto:
    """The subnet with this id."""
    return client.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]


@InstanceErrors.common_error_handler("run an instance")
@retry_launch
def run_instances(client: Client, **request: t.Any) -> Boto:
    """Launch one instance. The request must carry a C(ClientToken): it may be sent more than once."""
    return client.run_instances(**request)["Instances"][0]


@InstanceErrors.common_error_handler("terminate instances")
@retry_call
def terminate_instances(client: Client, instance_ids: list[str]) -> list[Boto]:
    """End instances; elements of the answer: C({InstanceId, PreviousState: {Name}, CurrentState: {Name}})."""
    return client.terminate_instances(InstanceIds=instance_ids)["TerminatingInstances"]


@InstanceErrors.common_error_handler("terminate an instance")
@retry_new
def terminate_instance(client: Client, instance_id: str) -> str:
    """End one instance that was seen a moment ago; return its state."""
    return client.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]["CurrentState"]["Name"]


@InstanceErrors.common_error_handler("tag a resource")
@retry_new
def create_tags(client: Client, resource_ids: list[str], tags: dict[str, str]) -> None:
    """Set tags, over those of the same key."""
    client.create_tags(Resources=resource_ids, Tags=ansible_dict_to_boto3_tag_list(tags))


@InstanceErrors.common_error_handler("take tags off a resource")
@retry_call
def delete_tags(client: Client, resource_ids: list[str], keys: list[str]) -> None:
    """Take tags off by key, whatever their value."""
    client.delete_tags(Resources=resource_ids, Tags=[{"Key": key} for key in keys])


@PlacementGroupErrors.list_error_handler("describe the placement group", [])
@retry_call
def describe_placement_groups_by_name(client: Client, names: list[str]) -> list[Boto]:
    """The groups with these names; none if EC2 does not know one of them. Names are not patterns here."""
    return client.describe_placement_groups(GroupNames=names)["PlacementGroups"]


@PlacementGroupErrors.common_error_handler("describe placement groups")
@retry_call
def describe_placement_groups(client: Client, filters: Filters) -> list[Boto]:
    """All groups that the filters let through. This call has no pages."""
    return client.describe_placement_groups(Filters=filters)["PlacementGroups"]


@PlacementGroupErrors.common_error_handler("create the placement group")
@retry_call
def create_placement_group(client: Client, **request: t.Any) -> Boto:
    """Create a group; the answer has its id and state."""
    return client.create_placement_group(**request)["PlacementGroup"]


@PlacementGroupErrors.deletion_error_handler("delete the placement group")
@retry_call
def delete_placement_group(client: Client, name: str) -> bool:
    """Delete a group; false if there is none of that name."""
    client.delete_placement_group(GroupName=name)
    return True


@AddressErrors.common_error_handler("describe elastic IP addresses")
@retry_call
def describe_addresses(client: Client, instance_ids: list[str]) -> list[Boto]:
    """The elastic IP addresses that are associated with these instances. This call has no pages."""
    return client.describe_addresses(Filters=[{"Name": "instance-id", "Values": instance_ids}])["Addresses"]


@AddressErrors.deletion_error_handler("disassociate an elastic IP address")
@retry_call
def disassociate_address(client: Client, association_id: str) -> bool:
    """Take an address off its instance and keep it; false if it was not associated any more."""
    client.disassociate_address(AssociationId=association_id)
    return True
