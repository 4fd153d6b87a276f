# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance whose states take time and whose host is real."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from moto.core.utils import utcnow
from moto.ec2.models import instances as moto_instances

from local_region.api.maintenance import scheduled_event
from local_region.api.region_state import RegionState
from local_region.hosts.backend import HostSpec

if TYPE_CHECKING:
    from local_region.api.placement_groups import PlacementGroup

STATE_CODES: Final = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
USER_INITIATED: Final = ("Client.UserInitiatedShutdown", "User initiated shutdown")
FROM_INSIDE: Final = ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
_LOOK_AGAIN_S: Final = 0.2
LAUNCH_FAILED: Final = ("Server.InternalError", "Internal error on launch")


class Instance(moto_instances.Instance):
    """moto's instance with EC2's clock, placement and end of life.

    The class keeps moto's name because moto's serializer goes by it. `adopt` must be called before the
    instance is seen by anybody.
    """

    lab: RegionState  # set by moto_hooks on a subclass of each region's own

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rack = ""
        self.placement_group_id: str | None = None
        self.cpu_options: dict[str, int] = {}
        self.spot_instance_request_id: str | None = None
        self.spot_type: str | None = None
        self.ena_support = True
        self.boot_mode = "uefi-preferred"
        self.platform_details = "Linux/UNIX"
        self.usage_operation = "RunInstances"
        self.maintenance_options = {"AutoRecovery": "default", "RebootMigration": "default"}
        self.shown = True
        self._terminated = False

    # becoming an instance of the lab

    def adopt(self, group: PlacementGroup | None, partition: int | None) -> None:
        """Place the instance and start its clock."""
        placement: Any = self._placement
        if group is not None:
            placement.group_name = group.group_name
            placement.group_id = group.id
            placement.partition_number = partition
            self.placement_group_id = group.id
        placement.availability_zone_id = self.ec2_backend.get_zone_by_name(placement.zone).zone_id
        self.rack = group.rack if group is not None else self.lab.next_rack()
        for nic in self.nics.values():
            nic.delete_on_termination = True
        # moto shows only groups that were asked for at the instance, not those of its interface or the default one.
        self.security_groups = list(self.nics[0].group_set)
        self._hide()
        self._set_state("pending")
        self.lab.after(self.lab.timings.pending_s, lambda: self._settle("pending", "running"))

    def _hide(self) -> None:
        """Keep out of all answers for as long as the scenario says: what EC2 shows lags behind what it did."""
        hidden_s = self.lab.faults.hidden_s(self.id)
        if hidden_s > 0:
            self.shown = False
            self.lab.after(hidden_s, self._show)

    def _show(self) -> None:
        self.shown = True

    def boot(self, spec: HostSpec) -> None:
        """Ask for the host; when that fails the instance ends as EC2 ends one that it can't start."""
        self.lab.ask_hosts(lambda hosts: hosts.launch(spec), on_error=self._launch_failed)

    def _launch_failed(self) -> None:
        if self.state in ("pending", "running"):
            self._note(*LAUNCH_FAILED)
            self._end()

    # states

    def _set_state(self, name: str) -> None:
        self._state.name = name
        self._state.code = STATE_CODES[name]
        self.lab.changed()

    def _settle(self, expected: str, target: str) -> None:
        if self.state == expected:
            self._set_state(target)

    def _note(self, code: str, text: str) -> None:
        self._reason = f"{text.removesuffix(' shutdown')} ({utcnow():%Y-%m-%d %H:%M:%S} GMT)"
        self.state_reason = moto_instances.StateReason(f"{code}: {text}", code)

    def start(self) -> Any:
        """Begin to start; only a stopped instance changes."""
        previous = copy.copy(self._state)
        if self.state != "stopped":
            return previous
        self._reason = ""
        self.state_reason = moto_instances.StateReason()
        for nic in self.nics.values():
            if not nic.public_ip:
                nic.start()
        self.launch_time = utcnow()
        self._set_state("pending")
        self.lab.known_booted.discard(self.id)
        self.publish_addresses()
        self.lab.ask_hosts(lambda hosts: hosts.start(self.id))
        self.lab.after(self.lab.timings.pending_s, lambda: self._settle("pending", "running"))
        return previous

    def stop(self, reason: tuple[str, str] = USER_INITIATED) -> Any:
        """Begin to stop; an address from the public pool is given back, an elastic one stays."""
        previous = copy.copy(self._state)
        if self.state != "running":
            return previous
        self._note(*reason)
        for nic in self.nics.values():
            if not self._elastic(nic):
                nic.stop()
        self._set_state("stopping")
        self.publish_addresses()
        self.lab.ask_hosts(lambda hosts: hosts.stop(self.id))
        self.lab.after(self.lab.timings.stopping_s, self._stopped)
        return previous

    def _stopped(self) -> None:
        """As on EC2 an instance is stopped once its host is: what runs on may still write to its disk."""
        if self.state != "stopping" or self.lab.hosts.stopped(self.id):
            self._settle("stopping", "stopped")
        else:
            self.lab.after(_LOOK_AGAIN_S, self._stopped)

    def terminate(self, reason: tuple[str, str] = USER_INITIATED) -> Any:
        """Begin to terminate; elastic addresses are let go at once."""
        previous = copy.copy(self._state)
        if self.state in ("shutting-down", "terminated"):
            return previous
        self._note(*reason)
        self._end()
        return previous

    def _end(self) -> None:
        for address in self.ec2_backend.addresses:
            if address.instance is self:
                address.instance = address.eni = address.association_id = None
        self._set_state("shutting-down")
        self.lab.ask_hosts(lambda hosts: hosts.terminate(self.id))
        self.lab.after(self.lab.timings.shutting_down_s, self._gone)

    def _gone(self) -> None:
        reason = (self._reason, self.state_reason)
        parts = [nic.id for nic in self.nics.values()]
        parts += [volume.volume_id for volume in self.block_device_mapping.values() if volume.delete_on_termination]
        super().terminate()
        for part in parts:
            self.ec2_backend.tags.pop(part, None)
        self._reason, self.state_reason = reason
        self._set_state("terminated")
        self._terminated = True
        self.nics = {}
        self._subnet_id = None
        self.security_groups = []
        self.lab.after(self.lab.timings.terminated_visible_s, self._forget)

    def _forget(self) -> None:
        for reservation_id, reservation in list(self.ec2_backend.reservations.items()):
            reservation.instances = [one for one in reservation.instances if one is not self]
            if not reservation.instances:
                del self.ec2_backend.reservations[reservation_id]
        self.ec2_backend.tags.pop(self.id, None)

    def reboot(self) -> None:
        self.lab.known_booted.discard(self.id)
        self.lab.ask_hosts(lambda hosts: hosts.reboot(self.id))

    def shut_down_from_inside(self) -> None:
        """The host ended itself: the shutdown behaviour decides. API protections do not apply, as on EC2."""
        if self.state not in ("pending", "running"):
            return
        if self.instance_initiated_shutdown_behavior == "terminate" or self.spot_type == "one-time":
            self.terminate(FROM_INSIDE)
        else:
            self._settle("pending", "running")
            self.stop(FROM_INSIDE)

    # addresses

    def _elastic(self, nic: Any) -> bool:
        return any(address.eni is nic for address in self.ec2_backend.addresses)

    def public_addresses(self) -> list[str]:
        return [nic.public_ip for _index, nic in sorted(self.nics.items()) if nic.public_ip]

    def publish_addresses(self) -> None:
        """Tell the host which public addresses are its own now."""
        addresses = self.public_addresses()
        self.lab.ask_hosts(lambda hosts: hosts.set_public_addresses(self.id, addresses))

    # what a terminated instance no longer has

    @property
    def private_ip(self) -> str | None:
        return None if self._terminated else super().private_ip

    @property
    def private_ip_address(self) -> str | None:
        return None if self._terminated else super().private_ip_address

    @property
    def private_dns_name(self) -> str:
        return "" if self._terminated else super().private_dns_name

    @property
    def public_ip(self) -> str | None:
        return None if self._terminated else super().public_ip

    @property
    def public_ip_address(self) -> str | None:
        return None if self._terminated else super().public_ip_address

    # status checks

    def _check(self) -> dict[str, Any]:
        if self.state != "running":
            return {"Status": "not-applicable"}
        passed = self.id in self.lab.known_booted
        detail = {"Name": "reachability", "Status": "passed" if passed else "initializing"}
        return {"Details": [detail], "Status": "ok" if passed else "initializing"}

    @property
    def instance_status(self) -> dict[str, Any]:
        return self._check()

    @property
    def system_status(self) -> dict[str, Any]:
        return self._check()

    @property
    def attached_ebs_status(self) -> dict[str, Any]:
        return self._check()

    def events(self) -> list[dict[str, Any]]:
        """What AWS has scheduled for the instance, as DescribeInstanceStatus shows it."""
        code = self.lab.faults.event_code(self.id) if self.state not in ("shutting-down", "terminated") else None
        return [scheduled_event(self.id, code, self.launch_time)] if code else []
