# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One EC2 request from its arrival to its answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from local_region.api.addresses import AddressActions
from local_region.api.call_log import Call, CallLog, credential_scope, is_write
from local_region.api.console import ConsoleActions
from local_region.api.enforcement import PolicyBook, check_ec2
from local_region.api.errors import ec2_error, fault, http_status
from local_region.api.filters import check_size
from local_region.api.images import ImageActions
from local_region.api.instances import InstanceActions
from local_region.api.launch import LaunchActions
from local_region.api.maintenance import MaintenanceActions
from local_region.api.networks import NetworkActions
from local_region.api.placement_groups import PlacementGroupActions
from local_region.api.region_state import RegionState
from local_region.api.tags import TagActions

log = logging.getLogger(__name__)

# No backend takes longer to be asked: its methods return at once.
_HOSTS_ASKED_WITHIN_S: Final = 30.0
_LOOKS_AT_HOSTS: Final = frozenset({"DescribeInstanceStatus"})
# The paginators and waiters of the SDKs ask these of every region.
_ONLY_HERE: Final = frozenset({"DescribePlacementGroups"})
# moto would make instances of these that have no host, no rack and no clock.
_NOT_SIMULATED: Final = frozenset({"CreateFleet", "RequestSpotFleet", "RequestSpotInstances"})


class LabResponse(
    PlacementGroupActions,
    LaunchActions,
    MaintenanceActions,
    ConsoleActions,
    InstanceActions,
    AddressActions,
    ImageActions,
    NetworkActions,
    TagActions,
    EC2Response,
):
    """moto's EC2 with the lab's actions over it. One object serves one request."""

    lab: RegionState
    log: CallLog
    policies: PolicyBook
    error_code: str | None = None

    def call_action(self) -> Any:
        at_s, monotonic_s = time.time(), time.monotonic()
        action = self._get_action()
        asked: Any = ()
        if action in _LOOKS_AT_HOSTS:
            self.lab.refresh_booted()
        with self.lab.lock:
            self.lab.advance()
            answer = self._answered(lambda: self._checked(action))
            if self.error_code is None and is_write(action):
                self.lab.changed()
            asked = self.lab.take_asked()
        for future in asked:
            future.result(timeout=_HOSTS_ASKED_WITHIN_S)
        self.log.add(self._call(action, at_s, monotonic_s))
        return answer

    def _checked(self, action: str) -> Any:
        code = self.lab.faults.call_error(self.lab.next_call(), action)
        if code:
            raise fault(code)
        check_ec2(self.policies, self._key(), self.lab, action, self._get_params())
        if action in _NOT_SIMULATED:
            raise ec2_error("UnsupportedOperation", f"{action} is not simulated in the lab.")
        if self.region != self.lab.region and (is_write(action) or action in _ONLY_HERE):
            raise ec2_error("OptInRequired", f"This lab simulates {self.lab.region}, not {self.region}.")
        return super().call_action()

    def _filters_from_querystring(self) -> dict[str, Any]:
        filters: dict[str, Any] = super()._filters_from_querystring()
        check_size(filters)
        return filters

    def _answered(self, act: Callable[[], Any]) -> Any:
        """Answer anything as EC2 does: what moto lacks or trips over must not reach a client as HTML."""
        try:
            return act()
        except ServiceException as error:
            return self._refused(error)
        except NotImplementedError as error:
            return self._refused(ec2_error("UnsupportedOperation", f"Not simulated in the lab: {error}"))
        except Exception as error:
            log.exception("%s failed", self._get_action())
            return self._refused(ec2_error("InternalError", f"The lab's API failed: {error!r}"))

    def _refused(self, error: ServiceException) -> Any:
        status, headers, body = self.serialized(ActionResult(error))
        headers["status"] = str(status)
        return status, headers, body

    def serialized(self, action_result: ActionResult) -> Any:
        answer = super().serialized(action_result)
        error = action_result.result
        if not isinstance(error, ServiceException):
            return answer
        self.error_code = error.code
        _status, headers, body = answer
        return http_status(error.code), headers, body

    def _call(self, action: str, at_s: float, monotonic_s: float) -> Call:
        return Call(
            at_s=at_s,
            monotonic_s=monotonic_s,
            service="ec2",
            action=action,
            write=is_write(action, dry_run=bool(self._get_param("DryRun", False))),
            code=self.error_code,
            region=self.region,
            access_key=self._key(),
            user_agent=self.headers.get("User-Agent", ""),
            client_token=self._get_param("ClientToken"),
        )

    def _key(self) -> str:
        return credential_scope(self.headers.get("Authorization", ""))[2]
