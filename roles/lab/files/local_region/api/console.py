# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GetConsoleOutput: what the instance's host has printed on its console, where moto shows the same text for all."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from moto.core.responses import ActionResult
from moto.ec2.utils import Base64EncodedString

from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from local_region.api.instances import InstanceActions
else:
    InstanceActions = object


class ConsoleActions(InstanceActions):
    """GetConsoleOutput. It is always the latest output; EC2 without C(Latest) shows that of some minutes ago."""

    lab: RegionState

    def get_console_output(self) -> ActionResult:
        (instance,) = self._instances([self._get_param("InstanceId")])
        self.error_on_dryrun()
        text = self.lab.hosts.console(instance.id)
        return ActionResult(
            {
                "InstanceId": instance.id,
                "Timestamp": datetime.now(timezone.utc),
                "Output": Base64EncodedString.from_raw_string(text),
            }
        )
