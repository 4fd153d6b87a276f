# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks can't be removed while something in them lives: what a teardown meets on EC2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult

from local_region.api.errors import ec2_error
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.responses.internet_gateways import InternetGateways
    from moto.ec2.responses.security_groups import SecurityGroups
    from moto.ec2.responses.subnets import Subnets
    from moto.ec2.responses.vpcs import VPCs

    class _Responses(InternetGateways, SecurityGroups, Subnets, VPCs):
        pass
else:
    _Responses = object


def _depended_on(kind: str, resource_id: str) -> EC2ClientError:
    return ec2_error("DependencyViolation", f"The {kind} '{resource_id}' has dependencies and cannot be deleted.")


class NetworkActions(_Responses):
    """DeleteSubnet, DeleteSecurityGroup, DeleteVpc and DetachInternetGateway with EC2's refusals."""

    lab: RegionState

    def delete_subnet(self) -> ActionResult:
        subnet = self.ec2_backend.get_subnet(self._get_param("SubnetId"))
        self.error_on_dryrun()
        if any(nic.subnet is subnet for nic in self._interfaces()):
            raise _depended_on("subnet", subnet.id)
        return super().delete_subnet()

    def delete_security_group(self) -> ActionResult:
        group_id = self._get_param("GroupId")
        group = self.ec2_backend.get_security_group_from_id(group_id) if group_id else None
        if group is not None and group.name == "default":
            raise ec2_error("CannotDelete", f"the specified group: '{group_id}' name: 'default' cannot be deleted")
        if group is not None and any(group in nic.group_set for nic in self._interfaces()):
            self.error_on_dryrun()
            raise ec2_error("DependencyViolation", f"resource {group_id} has a dependent object")
        return super().delete_security_group()

    def delete_vpc(self) -> ActionResult:
        vpc_id = self._get_param("VpcId")
        self.error_on_dryrun()
        attached = [one for one in self.ec2_backend.internet_gateways.values() if one.vpc and one.vpc.id == vpc_id]
        groups = [one for one in self.ec2_backend.groups.get(vpc_id, {}).values() if one.name != "default"]
        if attached or groups:
            raise _depended_on("vpc", vpc_id)
        return super().delete_vpc()

    def detach_internet_gateway(self) -> ActionResult:
        vpc_id = self._get_param("VpcId")
        self.error_on_dryrun()
        if any(nic.public_ip and nic.subnet.vpc_id == vpc_id for nic in self._interfaces()):
            raise ec2_error(
                "DependencyViolation",
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before "
                "detaching the gateway.",
            )
        return super().detach_internet_gateway()

    def _interfaces(self) -> list[Any]:
        return list(self.ec2_backend.enis.values())
