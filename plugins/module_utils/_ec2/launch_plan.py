# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a launch: pure functions on plain values.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import hashlib
import typing as t

from .client import SERVER_CODES, THROTTLING_CODES

Attempt = dict[str, t.Any]

# What a code of RunInstances means for the round. Sources: EC2's list of error codes, and Karpenter's list of codes
# for which another type may do. A code that is not here fails the module: no type and no round mends it.
NO_CAPACITY = "no_capacity"
QUOTA = "quota"
UNSUPPORTED = "unsupported"
THROTTLED = "throttled"
UNAVAILABLE = "unavailable"
PLACEMENT = "placement"
FAILED_TO_START = "failed_to_start"
FATAL = "fatal"

_KINDS: dict[str, frozenset[str]] = {
    NO_CAPACITY: frozenset(
        {
            "InsufficientCapacity",
            "InsufficientCapacityOnHost",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientReservedInstanceCapacity",
            "ReservationCapacityExceeded",
            "SpotMaxPriceTooLow",
            "UnfulfillableCapacity",
        }
    ),
    QUOTA: frozenset(
        {
            "InstanceLimitExceeded",
            "MaxFleetCountExceeded",
            "MaxIOPSLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "NetworkInterfaceLimitExceeded",
            "VcpuLimitExceeded",
            "VolumeLimitExceeded",
        }
    ),
    UNSUPPORTED: frozenset({"Unsupported", "UnsupportedOperation", "VolumeTypeNotAvailableInZone"}),
    PLACEMENT: frozenset({"InvalidPlacementGroup.Unknown"}),
    THROTTLED: THROTTLING_CODES,
    UNAVAILABLE: SERVER_CODES,
}
# Another type may succeed where one met these.
NEXT_TYPE_KINDS = (NO_CAPACITY, QUOTA, UNSUPPORTED)

_FAMILIAR_ROOT_DEVICES = (
    # Documented device names of the root volume of images that AWS and the distributions publish as SSM parameters.
    ("resolve:ssm:/aws/service/ami-amazon-linux-latest/", "/dev/xvda"),
    ("resolve:ssm:/aws/service/debian/", "/dev/xvda"),
    ("resolve:ssm:/aws/service/canonical/ubuntu/", "/dev/sda1"),
)


def kind_of(code: str | None) -> str:
    """What an error code of RunInstances means; V(fatal) for whatever is not known to pass."""
    return next((kind for kind, codes in _KINDS.items() if code in codes), FATAL)


def outcome_of(attempts: t.Sequence[Attempt]) -> str:
    """The outcome of a round in which no attempt launched anything.

    What stopped the attempts counts first. Otherwise capacity, which comes back by itself, goes before a quota, and
    a quota, which can be raised, before types that can never do.
    """
    kinds = [kind_of(attempt["code"]) for attempt in attempts]
    stopped = [kind for kind in kinds if kind not in NEXT_TYPE_KINDS]
    return stopped[-1] if stopped else min(kinds, key=NEXT_TYPE_KINDS.index)


def client_token(round_id: str, instance_type: str, market: str, generation: int) -> str:
    """The ClientToken of an attempt: 64 characters, which is the longest that EC2 takes.

    The same for each try at the same thing, so that EC2 launches once. The generation is the number of instances of
    the round that have ended already: EC2 refuses the token of a terminated instance for at least a day.
    """
    text = "\n".join(("lowlatency.ec2", round_id, instance_type, market, str(generation)))
    return hashlib.sha256(text.encode()).hexdigest()


def architecture_of(type_info: t.Mapping[str, t.Any]) -> str:
    """C(arm64) or C(x86_64) from what DescribeInstanceTypes says of a type."""
    supported = type_info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    return "arm64" if "arm64" in supported else "x86_64"


def image_for(image_id: str, architecture: str) -> str:
    """The image id with its C({architecture}) filled in."""
    return image_id.replace("{architecture}", architecture)


def familiar_root_device(image_id: str) -> str | None:
    """The root device of a published image that is known by its parameter's path, or null."""
    return next((device for prefix, device in _FAMILIAR_ROOT_DEVICES if image_id.startswith(prefix)), None)


def type_problem(
    wanted: t.Sequence[str],
    infos: t.Mapping[str, t.Mapping[str, t.Any]],
    strategy: str | None,
    market: str,
) -> str | None:
    """Why these types cannot be used, in one line that names the option and the value, or null.

    C(strategy) is that of the placement group, null for a launch without one. C(infos) maps a type to what
    DescribeInstanceTypes says of it.
    """
    for name in wanted:
        if name not in infos:
            return f"instance_types: there is no instance type '{name}' in this region"
        strategies = infos[name].get("PlacementGroupInfo", {}).get("SupportedStrategies", [])
        if strategy is not None and strategy not in strategies:
            return f"instance_types: '{name}' cannot join a {strategy} placement group"
        if market == "spot" and "spot" not in infos[name].get("SupportedUsageClasses", ["spot"]):
            return f"instance_types: '{name}' is not offered on the spot market"
    return None


def image_problem(instance_type: str, architecture: str, image: t.Mapping[str, t.Any] | None) -> str | None:
    """Why the image, as DescribeImages shows it, does not run on the type, in one line, or null."""
    if image is None or image.get("Architecture", architecture) == architecture:
        return None
    return (
        f"image_id: '{image['ImageId']}' is an image for {image['Architecture']}, "
        f"but '{instance_type}' of instance_types is {architecture}"
    )


def subnet_problem(subnet: t.Mapping[str, t.Any], availability_zone: str | None) -> str | None:
    """Why the subnet does not do for the zone (a name or a zone id), in one line, or null."""
    zones = (subnet.get("AvailabilityZone"), subnet.get("AvailabilityZoneId"))
    if availability_zone is None or availability_zone in zones:
        return None
    return f"availability_zone: '{subnet['SubnetId']}' is in {zones[0]} ({zones[1]}), not in '{availability_zone}'"


def launch_request(
    options: t.Mapping[str, t.Any], instance_type: str, image_id: str, root_device: str, token: str
) -> dict[str, t.Any]:
    """The arguments of RunInstances for one attempt.

    One instance, IMDSv2 only, an encrypted gp3 root volume that goes with the instance, everything tagged.
    C(options) are those of the module candidate_instance.
    """
    request: dict[str, t.Any] = {
        "ImageId": image_id,
        "InstanceType": instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "InstanceInitiatedShutdownBehavior": options["shutdown_behavior"] or "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": root_device, "Ebs": _root_volume(options["volume_size_gib"])}],
        "NetworkInterfaces": [_network_interface(options)],
        "TagSpecifications": _tag_specifications(launch_tags(options), options["market"]),
    }
    request.update(_optional_parts(options))
    return request


def _root_volume(size_gib: int | None) -> dict[str, t.Any]:
    volume: dict[str, t.Any] = {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    return volume if size_gib is None else {**volume, "VolumeSize": size_gib}


def _network_interface(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    interface: dict[str, t.Any] = {"DeviceIndex": 0, "DeleteOnTermination": True}
    if options["subnet_id"]:
        interface["SubnetId"] = options["subnet_id"]
    if options["security_group_ids"]:
        interface["Groups"] = list(options["security_group_ids"])
    if options["associate_public_ip"] is not None:
        interface["AssociatePublicIpAddress"] = options["associate_public_ip"]
    return interface


def launch_tags(options: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The tags of a new instance: the given ones, the round's id and the name."""
    from_options = {"lowlatency:round": options["round_id"], "Name": options["name"]}
    tags = {key: str(value) for key, value in (options["tags"] or {}).items()}
    return {**tags, **{key: value for key, value in from_options.items() if value is not None}}


def _tag_specifications(tags: t.Mapping[str, str], market: str) -> list[dict[str, t.Any]]:
    tag_list = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    kinds = ["instance", "volume", "network-interface"] + (["spot-instances-request"] if market == "spot" else [])
    return [{"ResourceType": kind, "Tags": tag_list} for kind in kinds]


def _optional_parts(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    parts: dict[str, t.Any] = {
        "KeyName": options["key_name"],
        "UserData": options["user_data"],
        "DisableApiTermination": options["termination_protection"] or None,
        "DisableApiStop": options["stop_protection"] or None,
    }
    if options["auto_recovery"] is not None:
        # The request takes no reboot migration.
        parts["MaintenanceOptions"] = {"AutoRecovery": options["auto_recovery"]}
    if options["placement_group"] is not None:
        parts["Placement"] = {"GroupName": options["placement_group"]}
    if options["instance_profile"] is not None:
        kind = "Arn" if options["instance_profile"].startswith("arn:") else "Name"
        parts["IamInstanceProfile"] = {kind: options["instance_profile"]}
    if options["market"] == "spot":
        parts["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    return {name: value for name, value in parts.items() if value is not None}
