# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only room that changes moto itself.

Needed because moto makes its objects by module-level names: there is no other seam. Tried with moto 5.2.
"""

from __future__ import annotations

import copy
import ipaddress
import random
from typing import Any
from urllib.parse import unquote

from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.ec2 import urls, utils
from moto.ec2.models import amis, elastic_ip_addresses, elastic_network_interfaces
from moto.ec2.models import instances as moto_instances
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.subnets import Subnet
from moto.ec2.utils import generate_dns_from_ip
from moto.s3.exceptions import PreconditionFailed
from moto.s3.responses import S3Response

from local_region.api import machine_images
from local_region.api.call_log import CallLog
from local_region.api.enforcement import PolicyBook
from local_region.api.errors import ec2_error
from local_region.api.images import Ami
from local_region.api.instance import Instance
from local_region.api.pools import AddressPool, PoolExhausted
from local_region.api.region_state import ACCOUNT_ID, RegionState
from local_region.api.response import LabResponse

# EC2 keeps the first four addresses of a subnet: network, router, resolver, future use.
_RESERVED_IN_SUBNET = 3


def _free_subnet_address(subnet: Any, instance: Any) -> str:
    """Replace Subnet.get_available_subnet_ip: go round, so that the address of a dying host rests."""
    pool: AddressPool | None = getattr(subnet, "lab_pool", None)
    if pool is None:
        pool = subnet.lab_pool = AddressPool(
            subnet.cidr_block, lambda: set(subnet._subnet_ips), reserved=_RESERVED_IN_SUBNET
        )
    try:
        address = pool.take()
    except PoolExhausted as error:
        raise ec2_error(
            "InsufficientFreeAddressesInSubnet",
            f"Subnet '{subnet.id}' has not enough free addresses to satisfy the request.",
        ) from error
    subnet._subnet_ips[address] = instance
    return address


def _request_subnet_address(subnet: Any, ip: str, instance: Any) -> None:
    """Replace Subnet.request_ip, whose plain exceptions are no EC2 errors."""
    if ipaddress.ip_address(ip) not in subnet.cidr:
        raise ec2_error("InvalidParameterValue", f"Address {ip} does not fall within the subnet's address range")
    if ip in subnet._subnet_ips:
        raise ec2_error("InvalidIPAddress.InUse", f"Address {ip} is in use.")
    subnet._subnet_ips[ip] = instance


def _association(nic: Any) -> dict[str, Any]:
    """Replace NetworkInterface.association: an address of the public pool is owned by `amazon`."""
    if not nic.public_ip:
        return {}
    elastic = next((one for one in nic.ec2_backend.addresses if one.eni is nic), None)
    association = {
        "PublicIp": nic.public_ip,
        "PublicDnsName": generate_dns_from_ip(nic.public_ip),
        "IpOwnerId": ACCOUNT_ID if elastic else "amazon",
    }
    if elastic is not None:
        association |= {"AllocationId": elastic.allocation_id, "AssociationId": elastic.association_id}
    return association


def _tags_of(resource: Any) -> list[dict[str, str]]:
    """Replace TaggedEC2Resource.get_tags, which looks through the tags of everything in the region."""
    kind = utils.EC2_PREFIX_TO_RESOURCE.get(utils.get_prefix(resource.id), "") if resource.id else ""
    tags = resource.ec2_backend.tags.get(resource.id, {})
    return [
        {"resource_id": resource.id, "key": key, "value": value, "resource_type": kind} for key, value in tags.items()
    ]


_copy_object = S3Response.copy_object


def _copy_object_if(response: Any) -> Any:
    """Replace S3Response.copy_object, which does not know x-amz-copy-source-if-match."""
    wanted = response.headers.get("x-amz-copy-source-if-match")
    if wanted is not None:
        bucket, _dummy, key = unquote(str(response.headers["x-amz-copy-source"])).lstrip("/").partition("/")
        held = response.backend.get_object(bucket, key)
        if held is not None and held.etag.strip('"') != wanted.strip('"'):
            raise PreconditionFailed("x-amz-copy-source-If-Match")
    return _copy_object(response)


def _random_resource_id(size: int = 8) -> str:
    """Replace utils.random_resource_id, which draws digit by digit; a region's images take 50,000 digits."""
    return f"{random.getrandbits(4 * size):0{size}x}"


_load_images = amis.AmiBackend._load_amis
#: The images that the EC2 of an account and region begins with, and their snapshots, both by id.
_first_images: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
#: Lists and sets of images and snapshots that calls change in place.
_CHANGEABLE = frozenset(
    {
        "create_volume_permission_groups",
        "create_volume_permission_userids",
        "launch_permissions",
        "product_codes",
    }
)


def _load_images_once(backend: Any) -> None:
    """Replace AmiBackend._load_amis, which makes a thousand images anew at each reset."""
    key = (backend.account_id, backend.region_name)
    if key not in _first_images:
        _load_images(backend)
        _first_images[key] = dict(backend.amis), dict(backend.snapshots)
    images, snapshots = _first_images[key]
    backend.snapshots.update({name: _as_new(snapshot, backend) for name, snapshot in snapshots.items()})
    for name, image in images.items():
        backend.amis[name] = _as_new(image, backend)
        backend.amis[name].ebs_snapshot = backend.snapshots[image.ebs_snapshot.id]


def _as_new(resource: Any, backend: Any) -> Any:
    """Return a copy of which a change leaves the original as it is."""
    made = object.__new__(type(resource))
    made.__dict__ = {**vars(resource), "ec2_backend": backend}
    for name in _CHANGEABLE & made.__dict__.keys():
        made.__dict__[name] = copy.copy(made.__dict__[name])
    return made


def _public_address() -> str:
    return LabResponse.lab.public_pool.take()


def _elastic_address() -> str:
    return LabResponse.lab.elastic_pool.take()


def install() -> None:
    """Put the lab's parts in moto's places. Safe to repeat."""
    utils.EC2_RESOURCE_TO_PREFIX["placement-group"] = "pg"
    utils.EC2_PREFIX_TO_RESOURCE["pg"] = "placement-group"
    # DescribeTags knows these by other names than moto.
    utils.EC2_PREFIX_TO_RESOURCE |= {"eipalloc": "elastic-ip", "nat": "natgateway", "h": "dedicated-host"}
    utils.random_resource_id = _random_resource_id
    backend_class: Any = amis.AmiBackend
    backend_class._load_amis = _load_images_once
    moto_instances.Instance = Instance  # type: ignore[misc]
    amis.Ami = Ami  # type: ignore[misc]
    tagged_class: Any = TaggedEC2Resource
    tagged_class.get_tags = _tags_of
    subnet_class: Any = Subnet
    subnet_class.get_available_subnet_ip = _free_subnet_address
    subnet_class.request_ip = _request_subnet_address
    interface_class: Any = NetworkInterface
    interface_class.association = property(_association)
    address_class: Any = elastic_ip_addresses.ElasticAddress
    address_class.instance_id = property(lambda address: address.instance.id if address.instance else None)
    address_class.network_interface_id = property(lambda address: address.eni.id if address.eni else None)
    elastic_network_interfaces.random_public_ip = _public_address
    elastic_ip_addresses.random_ip = _elastic_address
    urls.url_paths["{0}/"] = LabResponse.dispatch
    s3_class: Any = S3Response
    s3_class.copy_object = _copy_object_if


def forget(region: str) -> None:
    """Make moto forget everything of this region's EC2 and of all other services.

    Other regions' EC2 needs no reset because the lab refuses to change it.
    """
    registry: Any = BackendDict
    for services in list(registry._instances):
        for account in list(services.values()):
            for name, backend in list(account.items()):
                if services.service_name != "ec2" or name == region:
                    backend.reset()
    reset_model_data()


def bind(state: RegionState, calls: CallLog, policies: PolicyBook) -> None:
    """Make this state the one that requests are served from."""
    Instance.lab = state
    if state.machines:
        machine_images.register(state)
    LabResponse.lab = state
    LabResponse.log = calls
    LabResponse.policies = policies
