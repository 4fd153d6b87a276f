# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account's vCPU quotas, which EC2 checks at launch and at start."""

from __future__ import annotations

from moto.ec2.models.instance_types import INSTANCE_TYPES

from local_region.api.errors import ec2_error
from local_region.api.region_state import RegionState

_COUNTED_STATES = frozenset({"pending", "running"})


def vcpus_of(instance_type: str) -> int:
    """Return the default vCPUs of a type, which is what quotas count."""
    return int(INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def vcpus_in_use(state: RegionState, spot: bool) -> int:
    """Return the vCPUs of running and pending instances of one market."""
    return sum(
        vcpus_of(one.instance_type)
        for one in state.instances()
        if one.state in _COUNTED_STATES and (one.lifecycle == "spot") == spot
    )


def fitting_count(state: RegionState, instance_type: str, minimum: int, maximum: int, spot: bool) -> int:
    """Return how many of `minimum` to `maximum` instances fit the quota.

    Raises VcpuLimitExceeded or MaxSpotInstanceCountExceeded when not even the minimum does.
    """
    limit = state.quotas.spot_vcpus if spot else state.quotas.on_demand_vcpus
    count = min(maximum, (limit - vcpus_in_use(state, spot)) // vcpus_of(instance_type))
    if count >= minimum:
        return count
    if spot:
        raise ec2_error("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    raise ec2_error(
        "VcpuLimitExceeded",
        f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance "
        "bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request "
        "to request an adjustment to this limit.",
    )
