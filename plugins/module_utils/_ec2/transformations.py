# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure conversions between botocore's structures and what the modules show.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import typing as t

TAG_SEARCH_ID = "lowlatency:search-id"
TAG_ROUND = "lowlatency:round"
TAG_ROLE = "lowlatency:role"
TAG_OWNER = "lowlatency:owner"
TAG_EXPIRES_AT = "lowlatency:expires-at"
ROLE_CANDIDATE = "candidate"

LIVE_STATES = frozenset({"pending", "running", "stopping", "stopped"})
ENDING_STATES = frozenset({"shutting-down", "terminated"})

# The attributes that a candidate's options stand for: option -> (name at the API, value that an API answer means).
PROTECTION_ATTRIBUTES = {
    "shutdown_behavior": "instanceInitiatedShutdownBehavior",
    "termination_protection": "disableApiTermination",
    "stop_protection": "disableApiStop",
}

# The same for what AWS may do of its own accord: option -> name at the API.
MAINTENANCE_OPTIONS = {"auto_recovery": "AutoRecovery", "reboot_migration": "RebootMigration"}
# How EC2 begins the description of an event that is over (the reference on InstanceStatusEvent).
_OVER = ("[Completed]", "[Canceled]")


def tags_as_dict(tag_list: t.Iterable[t.Mapping[str, str]] | None) -> dict[str, str]:
    """C([{Key, Value}]) as one dictionary."""
    return {tag["Key"]: tag["Value"] for tag in tag_list or ()}


def _text(value: t.Any) -> str | None:
    return value.isoformat() if hasattr(value, "isoformat") else value


def candidate_of(instance: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a module returns for an instance of DescribeInstances or RunInstances. Absent values are null."""
    reason = instance.get("StateReason") or {}
    placement = instance.get("Placement") or {}
    interfaces = instance.get("NetworkInterfaces") or []
    # An instance's groups are those of its first interface; EC2 shows them there at once.
    groups = instance.get("SecurityGroups") or (interfaces[0].get("Groups") if interfaces else None) or []
    return {
        "instance_id": instance["InstanceId"],
        "instance_type": instance.get("InstanceType"),
        "architecture": instance.get("Architecture"),
        "placement_group": placement.get("GroupName") or None,
        "availability_zone": placement.get("AvailabilityZone"),
        "state": (instance.get("State") or {}).get("Name", "pending"),
        "state_reason": {"code": reason["Code"], "message": reason.get("Message", "")} if reason.get("Code") else None,
        "private_ip_address": instance.get("PrivateIpAddress") or None,
        "public_ip_address": instance.get("PublicIpAddress") or None,
        "image_id": instance.get("ImageId"),
        "key_name": instance.get("KeyName"),
        "market": "spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand",
        "spot_instance_request_id": instance.get("SpotInstanceRequestId") or None,
        "subnet_id": instance.get("SubnetId"),
        "vpc_id": instance.get("VpcId"),
        "security_group_ids": [group["GroupId"] for group in groups],
        "launch_time": _text(instance.get("LaunchTime")),
        "maintenance_options": maintenance_options_of(instance),
        "tags": tags_as_dict(instance.get("Tags")),
    }


def maintenance_options_of(instance: t.Mapping[str, t.Any]) -> dict[str, str]:
    """What AWS may do to an instance of its own accord, by option; V(default) where EC2 shows nothing."""
    shown = instance.get("MaintenanceOptions") or {}
    return {name: shown.get(api) or "default" for name, api in MAINTENANCE_OPTIONS.items()}


def scheduled_events_of(status: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The events of an element of DescribeInstanceStatus that are still to come, the next one first.

    EC2 goes on to show an event for a week after it is over, and says so at the beginning of its description.
    """
    events = [
        {
            "event_id": event.get("InstanceEventId"),
            "code": event["Code"],
            "description": event.get("Description", ""),
            "not_before": _text(event.get("NotBefore")),
            "not_after": _text(event.get("NotAfter")),
        }
        for event in status.get("Events") or ()
        if not event.get("Description", "").startswith(_OVER)
    ]
    return sorted(events, key=lambda event: event["not_before"] or "")


def has_elastic_address(instance: t.Mapping[str, t.Any]) -> bool:
    """Tell from DescribeInstances whether an elastic IP address is on an instance: Amazon owns all the others."""
    interfaces = instance.get("NetworkInterfaces") or []
    places = [*interfaces, *(address for nic in interfaces for address in nic.get("PrivateIpAddresses") or ())]
    return any((place.get("Association") or {}).get("IpOwnerId", "amazon") != "amazon" for place in places)


def placement_group_of(group: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a module returns for a group of DescribePlacementGroups or CreatePlacementGroup."""
    return {
        "name": group["GroupName"],
        "group_id": group.get("GroupId"),
        "group_arn": group.get("GroupArn"),
        "strategy": group.get("Strategy"),
        "partition_count": group.get("PartitionCount") or None,
        "spread_level": group.get("SpreadLevel") or None,
        "state": group.get("State"),
        "tags": tags_as_dict(group.get("Tags")),
    }


def escape_filter_value(value: str) -> str:
    r"""A filter's value in which C(*), C(?) and C(\) stand for themselves, as EC2 documents."""
    return "".join(f"\\{character}" if character in "*?\\" else character for character in value)


def filters_of(filters: t.Mapping[str, t.Any] | None, tags: t.Mapping[str, str] | None) -> list[dict[str, t.Any]]:
    """EC2's filters from a user's C({name: value or list}) and from tags that must match exactly."""
    result = []
    for name, value in sorted((filters or {}).items()):
        chosen = value if isinstance(value, (list, tuple)) else [value]
        result.append({"Name": name, "Values": [_filter_text(item) for item in chosen]})
    for key, tag in sorted((tags or {}).items()):
        result.append({"Name": f"tag:{key}", "Values": [escape_filter_value(str(tag))]})
    return result


def _filter_text(value: t.Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def has_tags(resource: t.Mapping[str, t.Any], wanted: t.Mapping[str, str]) -> bool:
    """Tell whether a converted resource carries all of these tags."""
    return all(resource["tags"].get(key) == str(value) for key, value in wanted.items())


def tag_changes(
    current: t.Mapping[str, str], wanted: t.Mapping[str, t.Any] | None, purge: bool
) -> tuple[dict[str, str], list[str], dict[str, str]]:
    """Work out C((to set, keys to take off, tags afterwards)).

    Tags of C(None) are left alone. Keys that begin with C(aws:) belong to AWS and are never taken off.
    """
    if wanted is None:
        return {}, [], dict(current)
    texts = {key: str(value) for key, value in wanted.items()}
    to_set = {key: value for key, value in texts.items() if current.get(key) != value}
    to_remove = sorted(key for key in current if purge and key not in texts and not key.startswith("aws:"))
    after = {key: value for key, value in {**current, **texts}.items() if key not in to_remove}
    return to_set, to_remove, after


def changed_parts(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Ansible's diff, C({before, after}), of only those entries that differ."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {
        "before": {name: before[name] for name in names if name in before},
        "after": {name: after[name] for name in names if name in after},
    }
