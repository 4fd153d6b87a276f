# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elastic addresses: where an address goes, what it displaces, and telling the hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import InvalidAllocationIdError, InvalidAssociationIdError, ResourceAlreadyAssociatedError
from moto.ec2.utils import random_eip_association_id

from local_region.api.errors import ec2_error
from local_region.api.pools import PoolExhausted
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from moto.ec2.responses.elastic_ip_addresses import ElasticIPAddresses
else:
    ElasticIPAddresses = object


def release_from_instance(address: Any) -> None:
    """Take an elastic address off its interface; a running instance gets one of the public pool back at once.

    EC2 takes minutes for that; here it is immediate.
    """
    nic = address.eni
    instance = nic.instance if nic is not None else None
    address.instance = address.eni = address.association_id = None
    if nic is None:
        return
    nic.public_ip = None
    if instance is not None and instance.state in ("pending", "running"):
        nic.check_auto_public_ip()
    if instance is not None:
        instance.publish_addresses()


class AddressActions(ElasticIPAddresses):
    """AllocateAddress, AssociateAddress, DisassociateAddress, ReleaseAddress."""

    lab: RegionState

    def allocate_address(self) -> ActionResult:
        self.error_on_dryrun()
        if len(self.ec2_backend.addresses) >= self.lab.quotas.elastic_addresses:
            raise ec2_error("AddressLimitExceeded", "The maximum number of addresses has been reached.")
        try:
            return super().allocate_address()
        except PoolExhausted as error:
            raise ec2_error("InsufficientAddressCapacity", "No elastic address is free.") from error

    def associate_address(self) -> ActionResult:
        address = self._address()
        nic = self._interface()
        self.error_on_dryrun()
        if address.eni is nic:
            return ActionResult({"AssociationId": address.association_id})
        if address.eni is not None and self._get_bool_param("AllowReassociation", True) is False:
            raise ResourceAlreadyAssociatedError(address.allocation_id)
        self._check_gateway(nic)
        release_from_instance(address)
        for other in self.ec2_backend.addresses:
            if other.eni is nic:
                other.instance = other.eni = other.association_id = None
        address.eni, address.instance = nic, nic.instance
        address.association_id = random_eip_association_id()
        nic.public_ip = address.public_ip
        if nic.instance is not None:
            nic.instance.publish_addresses()
        self.lab.changed()
        return ActionResult({"AssociationId": address.association_id})

    def disassociate_address(self) -> ActionResult:
        association_id = self._get_param("AssociationId")
        if association_id is None:
            address = self._address()
        else:
            found = [one for one in self.ec2_backend.addresses if one.association_id == association_id]
            if not found:
                raise InvalidAssociationIdError(association_id)
            address = found[0]
        self.error_on_dryrun()
        release_from_instance(address)
        self.lab.changed()
        return EmptyResult()

    def release_address(self) -> ActionResult:
        address = self._address()
        self.error_on_dryrun()
        if address.eni is not None:
            raise ec2_error("InvalidIPAddress.InUse", f"Address {address.public_ip} is in use.")
        self.ec2_backend.addresses.remove(address)
        self.ec2_backend.tags.pop(address.allocation_id, None)
        return EmptyResult()

    def _address(self) -> Any:
        allocation_id, public_ip = self._get_param("AllocationId"), self._get_param("PublicIp")
        if allocation_id is None and public_ip is None:
            raise ec2_error("MissingParameter", "Either public IP or allocation id must be specified")
        if allocation_id is None:
            return self.ec2_backend.address_by_ip([public_ip])[0]
        found = [one for one in self.ec2_backend.addresses if one.allocation_id == allocation_id]
        if not found:
            raise InvalidAllocationIdError(allocation_id)
        return found[0]

    def _interface(self) -> Any:
        instance_id, nic_id = self._get_param("InstanceId"), self._get_param("NetworkInterfaceId")
        if nic_id is not None:
            return self.ec2_backend.get_network_interface(nic_id)
        if instance_id is None:
            raise ec2_error("MissingParameter", "Either instance id or network interface id must be specified")
        instance = self.ec2_backend.get_instance(instance_id)
        if instance.state not in ("running", "stopping", "stopped"):
            raise ec2_error(
                "InvalidInstanceID",
                f"The {instance.state} instance '{instance_id}' is not in a valid state for this operation.",
            )
        return instance.nics[0]

    def _check_gateway(self, nic: Any) -> None:
        vpc_id = nic.subnet.vpc_id
        gateways = self.ec2_backend.internet_gateways.values()
        if not any(one.vpc is not None and one.vpc.id == vpc_id for one in gateways):
            raise ec2_error("Gateway.NotAttached", f"Network {vpc_id} is not attached to any internet gateway")
