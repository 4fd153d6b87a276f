# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the EC2 API, answered as EC2 does: a code, a text and an HTTP status."""

from __future__ import annotations

from typing import Final

from moto.ec2.exceptions import EC2ClientError

# Client errors are 400 unless listed; the rest are what EC2 calls server errors
# (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html). Clients retry on these.
_HTTP_STATUS: Final[dict[str, int]] = {
    "AuthFailure": 401,
    "DryRunOperation": 412,
    "InsufficientAddressCapacity": 500,
    "InsufficientCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "OptInRequired": 401,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}

_MESSAGES: Final[dict[str, str]] = {
    "InsufficientInstanceCapacity": "We currently do not have sufficient {instance_type} capacity in the Availability "
    "Zone you requested. Our system will be working on provisioning additional capacity.",
    "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
    "RequestLimitExceeded": "Request limit exceeded.",
    "Unsupported": "Your requested instance type ({instance_type}) is not supported in your requested Availability "
    "Zone. Please retry your request by not specifying an Availability Zone or choosing another one.",
    "VcpuLimitExceeded": "You have requested more vCPU capacity than your current vCPU limit allows for the instance "
    "bucket that the specified instance type belongs to.",
}


def http_status(code: str) -> int:
    """Return the HTTP status that EC2 sends with an error code."""
    return _HTTP_STATUS.get(code, 400)


def ec2_error(code: str, message: str) -> EC2ClientError:
    """Return the exception that ends the current request with this code."""
    return EC2ClientError(code, message)


def fault(code: str, instance_type: str = "") -> EC2ClientError:
    """Return the exception for an error that a scenario asked for, by code alone."""
    text = _MESSAGES.get(code, f"The lab's scenario refuses this request with {code}.")
    return EC2ClientError(code, text.format(instance_type=instance_type))
