# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a call of EC2 must be allowed: its action on each resource that it touches or makes, and the tagging within.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html. An action that is not
listed here is on no resource of its own, as most that describe: it needs permission for `*`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from local_region.api.errors import ec2_error
from local_region.api.launch_plan import find_image
from local_region.api.policies import Need
from local_region.api.region_state import ACCOUNT_ID, RegionState

Parameters = Mapping[str, Any]
Context = dict[str, list[str]]
_RESOLVE_SSM: Final = "resolve:ssm:"

# The types of resources that an action touches, with the parameters that may name one.
_TOUCHES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "AssociateAddress": {
        "elastic-ip": ("AllocationId", "PublicIp"),
        "instance": ("InstanceId",),
        "network-interface": ("NetworkInterfaceId",),
    },
    "AssociateRouteTable": {"route-table": ("RouteTableId",), "subnet": ("SubnetId",)},
    "AttachInternetGateway": {"internet-gateway": ("InternetGatewayId",), "vpc": ("VpcId",)},
    "AuthorizeSecurityGroupEgress": {"security-group": ("GroupId",)},
    "AuthorizeSecurityGroupIngress": {"security-group": ("GroupId",)},
    "CreateRoute": {"route-table": ("RouteTableId",)},
    "CreateRouteTable": {"vpc": ("VpcId",)},
    "CreateSecurityGroup": {"vpc": ("VpcId",)},
    "CreateSubnet": {"vpc": ("VpcId",)},
    "DeleteInternetGateway": {"internet-gateway": ("InternetGatewayId",)},
    "DeleteKeyPair": {"key-pair": ("KeyName", "KeyPairId")},
    "DeletePlacementGroup": {"placement-group": ("GroupName",)},
    "DeleteRoute": {"route-table": ("RouteTableId",)},
    "DeleteRouteTable": {"route-table": ("RouteTableId",)},
    "DeleteSecurityGroup": {"security-group": ("GroupId",)},
    "DeleteSubnet": {"subnet": ("SubnetId",)},
    "DeleteVpc": {"vpc": ("VpcId",)},
    "DescribeInstanceAttribute": {"instance": ("InstanceId",)},
    "DescribeVpcAttribute": {"vpc": ("VpcId",)},
    "DetachInternetGateway": {"internet-gateway": ("InternetGatewayId",), "vpc": ("VpcId",)},
    "DisassociateAddress": {
        "elastic-ip": ("AssociationId", "PublicIp"),
        "network-interface": ("AssociationId", "PublicIp"),
    },
    "DisassociateRouteTable": {"route-table": ("AssociationId",), "subnet": ("AssociationId",)},
    "GetConsoleOutput": {"instance": ("InstanceId",)},
    "ModifyInstanceAttribute": {"instance": ("InstanceId",), "security-group": ("Groups",)},
    "ModifyInstanceMaintenanceOptions": {"instance": ("InstanceId",)},
    "ModifyInstanceMetadataOptions": {"instance": ("InstanceId",)},
    "ModifySubnetAttribute": {"subnet": ("SubnetId",)},
    "ModifyVpcAttribute": {"vpc": ("VpcId",)},
    "RebootInstances": {"instance": ("InstanceIds",)},
    "ReleaseAddress": {"elastic-ip": ("AllocationId", "PublicIp")},
    "RevokeSecurityGroupEgress": {"security-group": ("GroupId",)},
    "RevokeSecurityGroupIngress": {"security-group": ("GroupId",)},
    "RunInstances": {
        "key-pair": ("KeyName",),
        "placement-group": ("Placement.GroupName", "Placement.GroupId"),
        "security-group": ("SecurityGroupIds", "NetworkInterfaces.Groups"),
        "subnet": ("SubnetId", "NetworkInterfaces.SubnetId"),
    },
    "StartInstances": {"instance": ("InstanceIds",)},
    "StopInstances": {"instance": ("InstanceIds",)},
    "TerminateInstances": {"instance": ("InstanceIds",)},
}

# The types of resources that an action makes. A name that the request gives is part of the ARN.
_MAKES: Final[dict[str, dict[str, str]]] = {
    "AllocateAddress": {"elastic-ip": "*"},
    "CreateInternetGateway": {"internet-gateway": "*"},
    "CreateKeyPair": {"key-pair": "KeyName"},
    "CreatePlacementGroup": {"placement-group": "GroupName"},
    "CreateRouteTable": {"route-table": "*"},
    "CreateSecurityGroup": {"security-group": "*"},
    "CreateSubnet": {"subnet": "*"},
    "CreateVpc": {"vpc": "*"},
    "ImportKeyPair": {"key-pair": "KeyName"},
    "RunInstances": {"instance": "*", "network-interface": "*", "volume": "*"},
}

# Attributes that a request of a Modify action may set, beside the name in `Attribute`.
_ATTRIBUTES: Final = ("DisableApiStop", "DisableApiTermination", "InstanceInitiatedShutdownBehavior", "InstanceType",
                      "SourceDestCheck", "UserData")  # fmt: skip


class _Named(NamedTuple):
    name: str
    tags: Mapping[str, str]


def needs_of(state: RegionState, action: str, parameters: Parameters) -> Iterator[Need]:
    """Yield what a call must be allowed. To be called under the lock; parameters are as botocore's model names them.

    A resource that does not exist needs nothing: the call fails for that, which tells no more than a description.
    """
    if action in ("CreateTags", "DeleteTags"):
        yield from _tagging(state, action, parameters)
        return
    general = _general(state)
    kinds = _TOUCHES.get(action, {})
    for kind, names in kinds.items():
        for identifier in _identifiers(parameters, names):
            found = _existing(state, kind, identifier)
            if found is not None:
                context = {**general, **_tags_of(found.tags), **_attributes(action, parameters)}
                yield Need(f"ec2:{action}", _arn(state, kind, found.name), context)
    yield from _making(state, action, parameters)
    if action == "RunInstances":
        yield from _launching(state, parameters)
    if action not in _TOUCHES and action not in _MAKES:
        yield Need(f"ec2:{action}", "*", general)


def _making(state: RegionState, action: str, parameters: Parameters) -> Iterator[Need]:
    """What is made, and the tags that it is made with: those need CreateTags too."""
    tagged = {
        one.get("ResourceType", ""): {tag["Key"]: tag.get("Value", "") for tag in one.get("Tags", [])}
        for one in parameters.get("TagSpecifications", [])
    }
    made = dict(_MAKES.get(action, {}))
    if "spot-instances-request" in tagged or _market(parameters) == "spot":
        made["spot-instances-request"] = "*"
    for kind, name in made.items():
        context = {**_general(state), **_requested_tags(tagged.get(kind, {})), **_asked(action, kind, parameters)}
        yield Need(f"ec2:{action}", _arn(state, kind, str(parameters.get(name, "*"))), context)
    for kind, tags in tagged.items():
        context = {**_general(state), **_requested_tags(tags), "ec2:CreateAction": [action]}
        name = str(parameters.get(made.get(kind, "*"), "*"))
        yield Need("ec2:CreateTags", _arn(state, kind, name), context)


def _launching(state: RegionState, parameters: Parameters) -> Iterator[Need]:
    """The image, and the public parameter that names it: EC2 reads that in the caller's name."""
    image_id = str(parameters.get("ImageId", ""))
    if image_id.startswith(_RESOLVE_SSM):
        yield Need("ssm:GetParameters", parameter_arn(state, image_id.removeprefix(_RESOLVE_SSM)), _global(state))
    image = find_image(state, parameters.get("ImageId"))
    own = image.owner_id == ACCOUNT_ID
    context = {**_general(state), **_tags_of(state.backend.tags.get(image.id, {}))}
    context["ec2:Owner"] = [ACCOUNT_ID if own else getattr(image, "owner_alias", None) or str(image.owner_id)]
    yield Need("ec2:RunInstances", f"arn:aws:ec2:{state.region}::image/{image.id}", context)


def _tagging(state: RegionState, action: str, parameters: Parameters) -> Iterator[Need]:
    keys = {tag["Key"]: tag.get("Value") for tag in parameters.get("Tags", [])}
    for identifier in parameters.get("Resources", []):
        kind = _KIND_OF_PREFIX.get(str(identifier).rpartition("-")[0])
        if kind is None:
            raise ec2_error("InvalidID", f"The ID '{identifier}' is not valid")
        found = _existing(state, kind, identifier)
        if found is not None:
            context = {**_general(state), **_tags_of(found.tags), **_requested_tags(keys)}
            yield Need(f"ec2:{action}", _arn(state, kind, found.name), context)


# What conditions can ask about


def _global(state: RegionState) -> Context:
    return {"aws:RequestedRegion": [state.region]}


def _general(state: RegionState) -> Context:
    return {**_global(state), "ec2:Region": [state.region]}


def _tags_of(tags: Mapping[str, str]) -> Context:
    both = {f"aws:ResourceTag/{key}": [value] for key, value in tags.items()}
    return {**both, **{f"ec2:ResourceTag/{key}": [value] for key, value in tags.items()}}


def _requested_tags(tags: Mapping[str, str | None]) -> Context:
    if not tags:
        return {}
    values = {f"aws:RequestTag/{key}": [value] for key, value in tags.items() if value is not None}
    return {**values, "aws:TagKeys": list(tags)}


def _attributes(action: str, parameters: Parameters) -> Context:
    if not action.startswith("Modify"):
        return {}
    named = [str(parameters["Attribute"])] if parameters.get("Attribute") else []
    return {"ec2:Attribute": named + [name for name in _ATTRIBUTES if name in parameters]}


def _asked(action: str, kind: str, parameters: Parameters) -> Context:
    """What a request says of a thing that it makes."""
    if action == "CreatePlacementGroup":
        return {"ec2:PlacementGroupStrategy": [str(parameters.get("Strategy", "cluster"))]}
    if action != "RunInstances":
        return {}
    if kind == "volume":
        ebs = [one["Ebs"] for one in parameters.get("BlockDeviceMappings", []) if one.get("Ebs")]
        return {"ec2:Encrypted": [str(bool(ebs) and all(one.get("Encrypted") for one in ebs)).lower()]}
    if kind != "instance":
        return {}
    metadata = parameters.get("MetadataOptions", {})
    return {
        "ec2:InstanceMarketType": [_market(parameters)],
        "ec2:InstanceType": [str(parameters.get("InstanceType", "m1.small"))],
        "ec2:MetadataHttpEndpoint": [str(metadata.get("HttpEndpoint", "enabled"))],
        "ec2:MetadataHttpPutResponseHopLimit": [str(metadata.get("HttpPutResponseHopLimit", 1))],
        "ec2:MetadataHttpTokens": [str(metadata.get("HttpTokens", "optional"))],
    }


def _market(parameters: Parameters) -> str:
    return str((parameters.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand"))


# Naming


_KIND_OF_PREFIX: Final = {
    "ami": "image",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "i": "instance",
    "igw": "internet-gateway",
    "key": "key-pair",
    "pg": "placement-group",
    "rtb": "route-table",
    "sg": "security-group",
    "sir": "spot-instances-request",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
}


def _arn(state: RegionState, kind: str, name: str) -> str:
    account = "" if kind == "image" else ACCOUNT_ID
    return f"arn:aws:ec2:{state.region}:{account}:{kind}/{name}"


def parameter_arn(state: RegionState, name: str) -> str:
    """The ARN of a parameter of SSM; those that AWS publishes belong to no account."""
    account = "" if name.startswith("/aws/") else ACCOUNT_ID
    return f"arn:aws:ssm:{state.region}:{account}:parameter/{name.lstrip('/')}"


def _identifiers(parameters: Parameters, names: Sequence[str]) -> list[str]:
    """The values of parameters, some of which are lists and some of which are within others (`Placement.GroupName`)."""
    found: list[str] = []
    for name in names:
        values: list[Any] = [parameters]
        for part in name.split("."):
            values = [inner for value in values for inner in _listed(value.get(part))]
        found += [str(value) for value in values]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _existing(state: RegionState, kind: str, identifier: str) -> _Named | None:
    """A resource by what a request calls it: its name within an ARN, and its tags. None if there is none."""
    tags = state.backend.tags
    if kind == "placement-group":
        groups = [one for one in state.groups.values() if identifier in (one.group_name, one.id)]
        return _Named(groups[0].group_name, groups[0].tag_map()) if groups else None
    if kind == "key-pair":
        keys = [one for one in state.backend.key_pairs.values() if identifier in (one.key_name, one.id)]
        return _Named(keys[0].key_name, tags.get(keys[0].id, {})) if keys else None
    if identifier.startswith("rtbassoc-"):
        return _associated(state, kind, identifier)
    if kind == "elastic-ip" or (kind == "network-interface" and not identifier.startswith("eni-")):
        return _addressed(state, kind, identifier)
    if kind == "instance" and state.instance(identifier) is None:
        return None
    return _Named(identifier, tags.get(identifier, {}))


def _associated(state: RegionState, kind: str, association_id: str) -> _Named | None:
    """The route table or the subnet of an association."""
    for table in state.backend.route_tables.values():
        if association_id in table.all_associations_ids:
            name = table.id if kind == "route-table" else table._associations.get(association_id)
            return _Named(name, state.backend.tags.get(name, {})) if name else None
    return None


def _addressed(state: RegionState, kind: str, identifier: str) -> _Named | None:
    """An Elastic IP by its id, its address or its association, or the interface that has it."""
    for one in state.backend.addresses:
        if identifier in (one.allocation_id, one.public_ip, one.association_id):
            name = one.allocation_id if kind == "elastic-ip" else one.eni.id if one.eni else None
            return _Named(name, state.backend.tags.get(name, {})) if name else None
    return None
