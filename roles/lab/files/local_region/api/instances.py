# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describing instances and moving them between their states."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import (
    InvalidInstanceIdError,
    OperationDisableApiStopNotPermitted,
    OperationNotPermitted4,
)
from moto.ec2.models.instance_types import INSTANCE_TYPES

from local_region.api.errors import ec2_error
from local_region.api.filters import Extractor, Values, attribute, check_names, page, resource_matches, text
from local_region.api.launch_plan import cpu_options_of
from local_region.api.machine_images import machine_size
from local_region.api.quotas import fitting_count
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from moto.ec2.responses.instances import InstanceResponse
else:
    InstanceResponse = object


def _groups(name: str) -> Extractor:
    return lambda instance: [str(getattr(group, name)) for group in instance.security_groups]


def _nics(*names: str) -> Extractor:
    extract = attribute(*names)
    return lambda instance: [value for nic in instance.nics.values() for value in extract(nic)]


def _launch_time(instance: Any) -> Values:
    return [instance.launch_time.strftime("%Y-%m-%dT%H:%M:%S.000Z")]


def _volumes(instance: Any) -> Values:
    return [volume.volume_id for _device, volume in instance.get_block_device_mapping]


FILTERS: Final[dict[str, Extractor]] = {
    "architecture": attribute("architecture"),
    "availability-zone": attribute("placement", "zone"),
    "availability-zone-id": attribute("placement", "availability_zone_id"),
    "block-device-mapping.volume-id": _volumes,
    "client-token": attribute("client_token"),
    "dns-name": attribute("public_dns_name"),
    "ebs-optimized": attribute("ebs_optimized"),
    "group-id": _groups("id"),
    "group-name": _groups("name"),
    "hypervisor": attribute("hypervisor"),
    "image-id": attribute("image_id"),
    "instance-id": attribute("id"),
    "instance-lifecycle": attribute("lifecycle"),
    "instance-state-code": attribute("state_code"),
    "instance-state-name": attribute("state"),
    "instance-type": attribute("instance_type"),
    "instance.group-id": _groups("id"),
    "instance.group-name": _groups("name"),
    "ip-address": attribute("public_ip"),
    "key-name": attribute("key_name"),
    "launch-index": attribute("ami_launch_index"),
    "launch-time": _launch_time,
    "metadata-options.http-tokens": attribute("metadata_options", "http_tokens"),
    "monitoring-state": attribute("monitoring_state"),
    "network-interface.addresses.association.public-ip": _nics("public_ip"),
    "network-interface.addresses.private-ip-address": _nics("private_ip_address"),
    "network-interface.network-interface-id": _nics("id"),
    "network-interface.subnet-id": _nics("subnet", "id"),
    "network-interface.vpc-id": _nics("subnet", "vpc_id"),
    "owner-id": attribute("owner_id"),
    "placement-group-name": attribute("placement", "group_name"),
    "placement-partition-number": attribute("placement", "partition_number"),
    "platform": attribute("platform"),
    "private-dns-name": attribute("private_dns_name"),
    "private-ip-address": attribute("private_ip"),
    "product-code": attribute("product_codes"),
    "reason": attribute("state_transition_reason"),
    "root-device-name": attribute("root_device_name"),
    "root-device-type": attribute("root_device_type"),
    "source-dest-check": attribute("source_dest_check"),
    "spot-instance-request-id": attribute("spot_instance_request_id"),
    "state-reason-code": attribute("state_reason", "code"),
    "subnet-id": attribute("subnet_id"),
    "tenancy": attribute("placement", "tenancy"),
    "virtualization-type": attribute("virtualization_type"),
    "vpc-id": attribute("vpc_id"),
}

STATUS_FILTERS: Final[dict[str, Extractor]] = {
    "availability-zone": FILTERS["availability-zone"],
    "availability-zone-id": FILTERS["availability-zone-id"],
    "instance-state-code": FILTERS["instance-state-code"],
    "instance-state-name": FILTERS["instance-state-name"],
    "instance-status.status": lambda instance: text(instance.instance_status["Status"]),
    "system-status.status": lambda instance: text(instance.system_status["Status"]),
    "attached-ebs-status.status": lambda instance: text(instance.attached_ebs_status["Status"]),
}


class InstanceActions(InstanceResponse):
    """DescribeInstances, DescribeInstanceStatus, Start, Stop, Reboot and Terminate, ModifyInstanceAttribute."""

    lab: RegionState

    # reading

    def describe_instances(self) -> ActionResult:
        self.error_on_dryrun()
        instance_ids = self._get_param("InstanceIds", [])
        limit = self._get_int_param("MaxResults")
        if instance_ids and limit is not None:
            raise ec2_error(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
        wanted = {one.id for one in self._instances(instance_ids)} if instance_ids else None
        filters = self._filters_from_querystring()
        check_names(filters, {**FILTERS, "reservation-id": attribute("id")})
        found = []
        for reservation in self.ec2_backend.reservations.values():
            shown = copy.copy(reservation)
            shown.instances = [
                one
                for one in reservation.instances
                if one.shown
                and (wanted is None or one.id in wanted)
                and resource_matches(one, self._tags(one.id), self._reservation_filters(reservation, filters), FILTERS)
            ]
            if shown.instances:
                found.append(shown)
        cut, token = page(found, limit, self._get_param("NextToken"), lambda one: str(one.id))
        return ActionResult({"Reservations": cut, "NextToken": token})

    @staticmethod
    def _reservation_filters(reservation: Any, filters: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
        """Take out `reservation-id`, which is no attribute of an instance; one that differs matches nothing."""
        rest = dict(filters)
        wanted = rest.pop("reservation-id", None)
        if wanted is not None and reservation.id not in wanted:
            rest["instance-id"] = []
        return rest

    def describe_instance_status(self) -> ActionResult:
        self.error_on_dryrun()
        instance_ids = self._get_param("InstanceIds", [])
        everything = self._get_bool_param("IncludeAllInstances", False)
        filters = self._filters_from_querystring()
        check_names(filters, STATUS_FILTERS)
        found = [
            one
            for one in (self._instances(instance_ids) if instance_ids else self.lab.instances())
            if one.shown
            and (everything or one.state == "running")
            and resource_matches(one, self._tags(one.id), filters, STATUS_FILTERS)
        ]
        cut, token = page(found, self._get_int_param("MaxResults"), self._get_param("NextToken"), lambda one: one.id)
        statuses = [
            {
                "AvailabilityZone": one.placement.zone,
                "AvailabilityZoneId": one.placement.availability_zone_id,
                "InstanceId": one.id,
                "InstanceState": {"Code": one.state_code, "Name": one.state},
                "InstanceStatus": one.instance_status,
                "SystemStatus": one.system_status,
                "AttachedEbsStatus": one.attached_ebs_status,
                "Events": one.events(),
            }
            for one in cut
        ]
        return ActionResult({"InstanceStatuses": statuses, "NextToken": token})

    # changing state

    def start_instances(self) -> ActionResult:
        instances = self._instances(self._get_param("InstanceIds", []))
        self.error_on_dryrun()
        self._check_states(instances, {"pending", "running", "stopped"}, "started")
        for one in instances:
            if one.state == "stopped":
                fitting_count(self.lab, one.instance_type, 1, 1, one.lifecycle == "spot")
        return ActionResult({"StartingInstances": self._change(instances, lambda one: one.start())})

    def stop_instances(self) -> ActionResult:
        instances = self._instances(self._get_param("InstanceIds", []))
        self.error_on_dryrun()
        self._check_states(instances, {"running", "stopping", "stopped"}, "stopped")
        for one in instances:
            if one.disable_api_stop:
                raise OperationDisableApiStopNotPermitted(one.id)
            if one.spot_type == "one-time":
                raise ec2_error(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{one.id}' because it is associated with a one-time Spot "
                    "Instance request. You can only stop Spot Instances associated with persistent Spot Instance "
                    "requests.",
                )
        return ActionResult({"StoppingInstances": self._change(instances, lambda one: one.stop())})

    def reboot_instances(self) -> ActionResult:
        instances = self._instances(self._get_param("InstanceIds", []))
        self.error_on_dryrun()
        self._check_states(instances, {"running"}, "rebooted")
        for one in instances:
            one.reboot()
        return EmptyResult()

    def terminate_instances(self) -> ActionResult:
        instances = self._instances(self._get_param("InstanceIds", []))
        self.error_on_dryrun()
        for one in instances:
            if one.state in ("shutting-down", "terminated"):
                continue
            if one.disable_api_termination:
                raise OperationNotPermitted4(one.id)
            # The guide on stop protection: it "also protects your instance from accidental termination".
            if one.disable_api_stop:
                raise ec2_error(
                    "OperationNotPermitted",
                    f"The instance '{one.id}' may not be terminated. Modify its 'disableApiStop' instance attribute "
                    "and try again.",
                )
        return ActionResult({"TerminatingInstances": self._change(instances, lambda one: one.terminate())})

    @staticmethod
    def _change(instances: Sequence[Any], change: Any) -> list[dict[str, Any]]:
        changes = []
        for one in instances:
            previous = change(one)
            changes.append(
                {
                    "InstanceId": one.id,
                    "PreviousState": {"Code": previous.code, "Name": previous.name},
                    "CurrentState": {"Code": one.state_code, "Name": one.state},
                }
            )
        return changes

    @staticmethod
    def _check_states(instances: Sequence[Any], allowed: set[str], verb: str) -> None:
        for one in instances:
            if one.state not in allowed:
                raise ec2_error(
                    "IncorrectInstanceState",
                    f"The instance '{one.id}' is not in a state from which it can be {verb}.",
                )

    # attributes

    def modify_instance_attribute(self) -> ActionResult:
        (instance,) = self._instances([self._get_param("InstanceId")])
        if instance.state in ("shutting-down", "terminated"):
            raise ec2_error(
                "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state that allows this."
            )
        self._check_spot_attributes(instance)
        self._check_type_change(instance)
        behavior = self._behavior()
        if behavior is None:
            result = super().modify_instance_attribute()
            self._resize(instance)
            return result
        if behavior not in ("stop", "terminate"):
            raise ec2_error(
                "InvalidParameterValue",
                f"Value ({behavior}) for parameter instanceInitiatedShutdownBehavior is invalid.",
            )
        self.error_on_dryrun()
        instance.instance_initiated_shutdown_behavior = behavior
        return EmptyResult()

    def _behavior(self) -> str | None:
        if self._get_param("Attribute") == "instanceInitiatedShutdownBehavior":
            return str(self._get_param("Value"))
        value = self._get_param("InstanceInitiatedShutdownBehavior.Value")
        return None if value is None else str(value)

    def _check_spot_attributes(self, instance: Any) -> None:
        if instance.lifecycle != "spot":
            return
        for name in ("DisableApiTermination", "DisableApiStop", "InstanceInitiatedShutdownBehavior"):
            if self._get_param(f"{name}.Value") is not None:
                attribute_name = name[0].lower() + name[1:]
                raise ec2_error(
                    "UnsupportedOperation", f"Modifying '{attribute_name}' is not supported for spot instances."
                )

    def _resize(self, instance: Any) -> None:
        """Give a machine the size of its new type. EC2 forgets CPU options with the old one."""
        if self._get_param("InstanceType.Value") is None:
            return
        instance.cpu_options = cpu_options_of({}, instance.instance_type)
        size = machine_size(self.lab, instance.image_id, instance.instance_type, instance.cpu_options)
        if size is not None:
            self.lab.ask_hosts(lambda hosts: hosts.resize(instance.id, size))

    def _check_type_change(self, instance: Any) -> None:
        wanted = self._get_param("InstanceType.Value")
        if wanted is None:
            return
        if wanted not in INSTANCE_TYPES:
            raise ec2_error("InvalidParameterValue", f"Invalid value '{wanted}' for InstanceType.")
        if instance.state != "stopped":
            raise ec2_error("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")

    # finding

    def _tags(self, resource_id: str) -> dict[str, str]:
        return dict(self.ec2_backend.tags.get(resource_id, {}))

    def _instances(self, instance_ids: Sequence[str]) -> list[Any]:
        """Return the instances of these ids in the order asked. Raises MissingParameter, InvalidInstanceID.*."""
        if not instance_ids:
            raise ec2_error("MissingParameter", "The request must contain the parameter InstanceId")
        malformed = [one for one in instance_ids if not one.startswith("i-")]
        if malformed:
            raise ec2_error("InvalidInstanceID.Malformed", f'Invalid id: "{malformed[0]}"')
        known = {one.id: one for one in self.lab.instances() if one.shown}
        missing = [one for one in instance_ids if one not in known]
        if missing:
            raise InvalidInstanceIdError(missing)
        return [known[one] for one in dict.fromkeys(instance_ids)]
