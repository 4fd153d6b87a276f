# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a RunInstances request asks for, checked before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moto.ec2.exceptions import InvalidAMIIdError, UnvailableAMIIdError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ssm import ssm_backends

from local_region.api.errors import ec2_error
from local_region.api.placement_groups import PlacementGroup, find_group, members
from local_region.api.quotas import fitting_count
from local_region.api.region_state import ACCOUNT_ID, RegionState

_RESOLVE_SSM: Final = "resolve:ssm:"
_DEFAULT_TYPE: Final = "m1.small"


@dataclass(frozen=True)
class LaunchPlan:
    """A checked launch."""

    image: Any
    instance_type: str
    zone: str
    count: int
    group: PlacementGroup | None
    partition: int | None
    spot: bool
    spot_type: str | None
    cpu_options: dict[str, int]


def plan_launch(state: RegionState, parameters: Mapping[str, Any]) -> LaunchPlan:
    """Check a request as EC2 does before it looks for capacity. Raises EC2's errors."""
    instance_type = parameters.get("InstanceType") or _DEFAULT_TYPE
    if instance_type not in INSTANCE_TYPES:
        raise ec2_error("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    image = find_image(state, parameters.get("ImageId"))
    _check_architecture(image, instance_type)
    zone = _zone(state, parameters)
    _check_offering(state, instance_type, zone)
    _check_network(state, parameters)
    _check_key(state, parameters.get("KeyName"))
    spot, spot_type = _market(parameters, instance_type)
    minimum, maximum = _counts(parameters)
    group = _group(state, parameters, instance_type)
    count = fitting_count(state, instance_type, minimum, maximum, spot)
    _check_spread(state, group, zone, count)
    return LaunchPlan(
        image=image,
        instance_type=instance_type,
        zone=zone,
        count=count,
        group=group,
        partition=_partition(state, parameters, group),
        spot=spot,
        spot_type=spot_type,
        cpu_options=cpu_options_of(parameters.get("CpuOptions", {}), instance_type),
    )


def find_image(state: RegionState, image_id: str | None) -> Any:
    """Return moto's image, following `resolve:ssm:`. Raises InvalidAMIID.*."""
    if not image_id:
        raise ec2_error("MissingParameter", "The request must contain the parameter ImageId")
    if image_id.startswith(_RESOLVE_SSM):
        image_id = _resolve(state, image_id.removeprefix(_RESOLVE_SSM))
    if not image_id.startswith("ami-"):
        raise ec2_error("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = state.backend.amis.get(image_id)
    if image is None and image_id in state.backend.deleted_amis:
        raise UnvailableAMIIdError(image_id)
    if image is None:
        raise InvalidAMIIdError(image_id)
    if image.state != "available":
        raise UnvailableAMIIdError(image_id)
    return image


def _resolve(state: RegionState, name: str) -> str:
    parameter = ssm_backends[ACCOUNT_ID][state.region].get_parameter(name)
    if parameter is None:
        raise ec2_error("InvalidParameterValue", f"Invalid value 'resolve:ssm:{name}' for ImageId: no such parameter.")
    return str(parameter.value)


def _check_architecture(image: Any, instance_type: str) -> None:
    supported = INSTANCE_TYPES[instance_type]["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in supported:
        raise ec2_error(
            "InvalidParameterValue",
            f"The architecture '{','.join(supported)}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures, and try again.",
        )


def _subnet_id(parameters: Mapping[str, Any]) -> str | None:
    nics = parameters.get("NetworkInterfaces", [])
    return parameters.get("SubnetId") or next((nic["SubnetId"] for nic in nics if nic.get("SubnetId")), None)


def _zone(state: RegionState, parameters: Mapping[str, Any]) -> str:
    placement = parameters.get("Placement", {})
    wanted = placement.get("AvailabilityZone")
    if placement.get("AvailabilityZoneId"):
        zones = {zone.zone_id: zone.name for zone in state.backend.describe_availability_zones()}
        wanted = zones.get(placement["AvailabilityZoneId"], placement["AvailabilityZoneId"])
    known = {zone.name for zone in state.backend.describe_availability_zones()}
    if wanted and wanted not in known:
        raise ec2_error("InvalidParameterValue", f"Invalid availability zone: [{wanted}]")
    subnet_id = _subnet_id(parameters)
    if not subnet_id:
        return str(wanted or f"{state.region}a")
    zone = str(state.backend.get_subnet(subnet_id).availability_zone)
    if wanted and wanted != zone:
        raise ec2_error(
            "InvalidParameterValue",
            f"Value ({wanted}) for parameter availabilityZone is invalid. Subnet '{subnet_id}' is in the availability "
            f"zone {zone}",
        )
    return zone


def _check_offering(state: RegionState, instance_type: str, zone: str) -> None:
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(state.region, [])
    if not any(one["InstanceType"] == instance_type and one["Location"] == zone for one in offered):
        raise ec2_error(
            "Unsupported",
            f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone "
            f"({zone}).",
        )


def _check_network(state: RegionState, parameters: Mapping[str, Any]) -> None:
    nics = parameters.get("NetworkInterfaces", [])
    if nics and (parameters.get("SecurityGroupIds") or parameters.get("SubnetId")):
        raise ec2_error(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same "
            "request",
        )
    subnet_id = _subnet_id(parameters)
    group_ids = list(parameters.get("SecurityGroupIds", [])) + [one for nic in nics for one in nic.get("Groups", [])]
    for group_id in group_ids:
        group = state.backend.get_security_group_from_id(group_id)
        if group is None:
            raise ec2_error("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        if subnet_id and group.vpc_id != state.backend.get_subnet(subnet_id).vpc_id:
            raise ec2_error(
                "InvalidParameter",
                f"Security group {group_id} and subnet {subnet_id} belong to different networks.",
            )


def _check_key(state: RegionState, key_name: str | None) -> None:
    if key_name and key_name not in state.backend.key_pairs:
        raise ec2_error("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")


def _market(parameters: Mapping[str, Any], instance_type: str) -> tuple[bool, str | None]:
    market = parameters.get("InstanceMarketOptions") or {}
    if market.get("MarketType") != "spot":
        return False, None
    if "spot" not in INSTANCE_TYPES[instance_type].get("SupportedUsageClasses", []):
        raise ec2_error("Unsupported", f"The instance type {instance_type} has no Spot Instances.")
    options = market.get("SpotOptions") or {}
    behavior = options.get("InstanceInterruptionBehavior", "terminate")
    placement = parameters.get("Placement", {})
    if behavior != "terminate" and (placement.get("GroupName") or placement.get("GroupId")):
        raise ec2_error(
            "InvalidParameterCombination",
            "Spot Instances that stop or hibernate on interruption can't be launched in a placement group.",
        )
    if parameters.get("DisableApiTermination") or parameters.get("DisableApiStop"):
        raise ec2_error("UnsupportedOperation", "API protections are not supported for spot instances.")
    return True, options.get("SpotInstanceType", "one-time")


def _counts(parameters: Mapping[str, Any]) -> tuple[int, int]:
    minimum, maximum = int(parameters.get("MinCount", 1)), int(parameters.get("MaxCount", 1))
    if minimum < 1 or maximum < minimum:
        raise ec2_error("InvalidParameterValue", f"Invalid counts: MinCount {minimum}, MaxCount {maximum}.")
    return minimum, maximum


def _group(state: RegionState, parameters: Mapping[str, Any], instance_type: str) -> PlacementGroup | None:
    placement = parameters.get("Placement", {})
    name, group_id = placement.get("GroupName") or None, placement.get("GroupId") or None
    if name is None and group_id is None:
        return None
    group = find_group(state, name, group_id)
    strategies = INSTANCE_TYPES[instance_type].get("PlacementGroupInfo", {}).get("SupportedStrategies", [])
    if group.strategy not in strategies:
        raise ec2_error(
            "InvalidParameterCombination",
            f"{group.strategy.capitalize()} placement groups are not supported by the '{instance_type}' instance type. "
            "Specify a supported instance type or change the placement group strategy, and try again.",
        )
    return group


def _check_spread(state: RegionState, group: PlacementGroup | None, zone: str, count: int) -> None:
    if group is None or group.strategy != "spread":
        return
    there = sum(1 for one in members(state, group) if one.placement.zone == zone)
    if there + count > state.quotas.spread_instances_per_zone:
        raise ec2_error(
            "InsufficientInstanceCapacity",
            f"You have reached the limit of instances in this spread placement group and Availability Zone ({zone}).",
        )


def _partition(state: RegionState, parameters: Mapping[str, Any], group: PlacementGroup | None) -> int | None:
    wanted = parameters.get("Placement", {}).get("PartitionNumber")
    if group is None or group.partition_count is None:
        if wanted is not None:
            raise ec2_error("InvalidParameterCombination", "A partition number needs a partition placement group.")
        return None
    if wanted is None:
        return 1 + len(members(state, group)) % group.partition_count
    if not 1 <= int(wanted) <= group.partition_count:
        raise ec2_error("InvalidParameterValue", f"Value ({wanted}) for parameter partitionNumber is invalid.")
    return int(wanted)


def cpu_options_of(wanted: Mapping[str, Any], instance_type: str) -> dict[str, int]:
    """Return cores and threads per core, as asked or as the type has them. Raises EC2's errors."""
    info = INSTANCE_TYPES[instance_type]["VCpuInfo"]
    if not wanted.get("CoreCount") and not wanted.get("ThreadsPerCore"):
        return {"CoreCount": info["DefaultCores"], "ThreadsPerCore": info.get("DefaultThreadsPerCore", 1)}
    if "ValidCores" not in info:
        raise ec2_error("InvalidParameterCombination", f"CpuOptions are not supported by {instance_type}.")
    cores = int(wanted.get("CoreCount") or info["DefaultCores"])
    threads = int(wanted.get("ThreadsPerCore") or info.get("DefaultThreadsPerCore", 1))
    if cores not in info["ValidCores"] or threads not in info["ValidThreadsPerCore"]:
        raise ec2_error("InvalidParameterValue", f"CPU options of {cores} cores with {threads} threads are not valid.")
    return {"CoreCount": cores, "ThreadsPerCore": threads}
