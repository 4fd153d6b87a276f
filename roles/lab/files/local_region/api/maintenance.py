# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWS does to an instance of its own accord: events that it schedules, and the options that keep it from some."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from moto.core.responses import ActionResult

from local_region.api.errors import ec2_error
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from local_region.api.instances import InstanceActions
else:
    InstanceActions = object

OPTIONS: Final = ("AutoRecovery", "RebootMigration")
VALUES: Final = ("default", "disabled")

_NOTICE: Final = timedelta(days=14)
_WINDOW: Final = timedelta(hours=2)
_DESCRIPTIONS: Final[dict[str, str]] = {
    "instance-reboot": "scheduled reboot",
    "instance-retirement": "The instance is running on degraded hardware",
    "instance-stop": "scheduled stop",
    "system-maintenance": "scheduled maintenance",
    "system-reboot": "scheduled system reboot",
}


def scheduled_event(instance_id: str, code: str, noticed: datetime) -> dict[str, Any]:
    """Return an event that was announced at this time, two weeks ahead as AWS does."""
    begins = noticed + _NOTICE
    return {
        "InstanceEventId": f"instance-event-{instance_id.removeprefix('i-')}",
        "Code": code,
        "Description": _DESCRIPTIONS[code],
        "NotBefore": begins,
        "NotAfter": begins + _WINDOW,
    }


class MaintenanceActions(InstanceActions):
    """ModifyInstanceMaintenanceOptions, which moto has not."""

    lab: RegionState

    def modify_instance_maintenance_options(self) -> ActionResult:
        (instance,) = self._instances([self._get_param("InstanceId")])
        wanted = {name: self._get_param(name) for name in OPTIONS if self._get_param(name) is not None}
        for name, value in wanted.items():
            if value not in VALUES:
                raise ec2_error("InvalidParameterValue", f"Value ({value}) for parameter {name} is invalid.")
        if not wanted:
            raise ec2_error("MissingParameter", "The request must contain the parameter AutoRecovery")
        if instance.state in ("shutting-down", "terminated"):
            raise ec2_error(
                "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state that allows this."
            )
        self.error_on_dryrun()
        instance.maintenance_options = {**instance.maintenance_options, **wanted}
        return ActionResult({"InstanceId": instance.id, **instance.maintenance_options})
