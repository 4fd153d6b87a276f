# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RunInstances."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ec2.utils import random_spot_request_id

from local_region.api.errors import ec2_error, fault
from local_region.api.instance import Instance
from local_region.api.keys import authorized_key
from local_region.api.launch_plan import LaunchPlan, plan_launch
from local_region.api.machine_images import machine_size
from local_region.api.region_state import LaunchRecord, RegionState
from local_region.hosts.backend import HostSpec

if TYPE_CHECKING:
    from moto.ec2.responses.instances import InstanceResponse
else:
    InstanceResponse = object

_ROOT_SIZE_GIB = 8
# What may differ between a call and its repetition under the same client token.
_NOT_COMPARED = frozenset({"ClientToken", "DryRun"})


def user_name_of(image: Any) -> str:
    """Return the login of an image: `ubuntu` for Ubuntu, `admin` for Debian, else Amazon's `ec2-user`."""
    name = (image.name or "").lower()
    if "ubuntu" in name:
        return "ubuntu"
    return "admin" if name.startswith("debian") else "ec2-user"


def with_root_device(mappings: list[dict[str, Any]], root: str) -> list[dict[str, Any]]:
    """Return block device mappings with a root volume that has EC2's defaults."""
    mappings = copy.deepcopy(mappings)
    if not any(one.get("DeviceName") == root for one in mappings):
        mappings.insert(0, {"DeviceName": root, "Ebs": {}})
    for mapping in mappings:
        if "Ebs" not in mapping:
            continue
        ebs = mapping["Ebs"]
        ebs.setdefault("DeleteOnTermination", True)
        ebs.setdefault("VolumeType", "gp3")
        if not ebs.get("SnapshotId"):
            ebs.setdefault("VolumeSize", _ROOT_SIZE_GIB)
    return mappings


def compared(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a request that a client token stands for."""
    return copy.deepcopy({name: value for name, value in parameters.items() if name not in _NOT_COMPARED})


class LaunchActions(InstanceResponse):
    """RunInstances with placement, checks, quotas, idempotency and real hosts."""

    lab: RegionState

    def run_instances(self) -> ActionResult:
        asked = compared(self.params)
        token = self._get_param("ClientToken")
        if token and token in self.lab.launches:
            return self._repeat(self.lab.launches[token], asked)
        plan = plan_launch(self.lab, self._merged_with_template(self.params))
        self.error_on_dryrun()
        code = self.lab.faults.launch_error(self.lab.next_launch(), plan.instance_type)
        if code:
            raise fault(code, plan.instance_type)
        if self.lab.public_pool.free() < plan.count:
            raise ec2_error("InsufficientFreeAddressesInSubnet", "No public address is free.")
        self._apply(plan)
        result = super().run_instances()
        reservation: Any = result.result
        for instance in reservation.instances:
            self._adopt(instance, plan)
        if token:
            self.lab.launches[token] = LaunchRecord(asked, reservation)
        return result

    def _repeat(self, record: LaunchRecord, asked: Mapping[str, Any]) -> ActionResult:
        if record.parameters != asked:
            raise ec2_error(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        if all(one.state == "terminated" for one in record.reservation.instances):
            raise ec2_error(
                "IdempotentInstanceTerminated",
                "The request uses the same client token as a previous request for which the instance has been "
                "terminated.",
            )
        return ActionResult(record.reservation)

    def _merged_with_template(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        reference = parameters.get("LaunchTemplate")
        if not reference:
            return dict(parameters)
        version = self.lab.backend._get_template_from_args(reference)
        return {**version.data, **parameters}

    def _apply(self, plan: LaunchPlan) -> None:
        """Tell moto what the plan decided: it knows no ranges, no parameters in image ids, no defaults."""
        parameters: dict[str, Any] = self.params
        parameters["ImageId"] = plan.image.id
        parameters["InstanceType"] = plan.instance_type
        parameters["MinCount"] = parameters["MaxCount"] = plan.count
        parameters["BlockDeviceMappings"] = with_root_device(
            parameters.get("BlockDeviceMappings", []), plan.image.root_device_name
        )
        parameters["Placement"] = {**parameters.get("Placement", {}), "AvailabilityZone": plan.zone}

    def _adopt(self, instance: Instance, plan: LaunchPlan) -> None:
        instance.cpu_options = dict(plan.cpu_options)
        instance.disable_api_termination = self._get_param("DisableApiTermination", False)
        instance.client_token = self._get_param("ClientToken", "")
        instance.maintenance_options |= self._get_param("MaintenanceOptions", {})
        if plan.spot:
            instance.lifecycle = "spot"
            instance.spot_type = plan.spot_type
            instance.spot_instance_request_id = random_spot_request_id()
        instance.adopt(plan.group, plan.partition)
        self._tag_interfaces(instance)
        instance.boot(self._spec(instance, plan))

    def _tag_interfaces(self, instance: Instance) -> None:
        """Tag the network interfaces as asked; moto only tags instances and volumes."""
        tags = self._parse_tag_specification().get("network-interface", {})
        for nic in instance.nics.values():
            nic.add_tags(tags)

    def _spec(self, instance: Instance, plan: LaunchPlan) -> HostSpec:
        private_ip = str(instance.private_ip)
        return HostSpec(
            instance_id=instance.id,
            instance_type=plan.instance_type,
            image_id=plan.image.id,
            architecture=plan.image.architecture,
            private_ip=private_ip,
            public_ip=instance.public_ip,
            hostname=f"ip-{private_ip.replace('.', '-')}",
            rack=instance.rack,
            placement_group=plan.group.group_name if plan.group else None,
            user_name=user_name_of(plan.image),
            authorized_key=authorized_key(self.lab, instance.key_name),
            user_data=instance.user_data.decode() if instance.user_data else None,
            machine=machine_size(self.lab, plan.image.id, plan.instance_type, plan.cpu_options),
        )
