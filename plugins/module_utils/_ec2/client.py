# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EC2 client of this collection's modules, its one exception and its one layer of retries.

Private to lowlatency.ec2: its interface may change at any time.

botocore's own retries are switched off (one HTTP request a call), because it also repeats what must fail fast: EC2
answers C(InsufficientInstanceCapacity) with HTTP 500. What may be repeated is decided here, by code, once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.cloud import CloudRetry
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError

from .sdk import too_old

try:
    from botocore import exceptions as boto_errors

    _REPEATABLE_ERRORS: tuple[type[BaseException], ...] = (
        boto_errors.ClientError,
        boto_errors.ConnectionClosedError,
        boto_errors.ConnectTimeoutError,
        boto_errors.EndpointConnectionError,
        boto_errors.ReadTimeoutError,
    )
except ImportError:  # AnsibleAWSModule reports a missing SDK
    _REPEATABLE_ERRORS = ()

if t.TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Client = t.Any

THROTTLING_CODES = frozenset(
    {
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
SERVER_CODES = frozenset({"InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable"})

_CONFIG = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 30}


class Ec2Error(AnsibleAWSError):
    """Whatever went wrong at the EC2 API; C(exception) is the botocore one, where there is one."""

    @property
    def code(self) -> str | None:
        """The AWS error code, or null when no answer came or the failure is our own."""
        response = getattr(self.exception, "response", None) or {}
        return response.get("Error", {}).get("Code")

    @property
    def detail(self) -> str:
        """AWS's text for a person. Never branch on it."""
        response = getattr(self.exception, "response", None) or {}
        return response.get("Error", {}).get("Message") or str(self.exception or self.message)


def refusal(message: str, code: str, **facts: t.Any) -> Ec2Error:
    """An error of our own for a request that was understood but cannot be fulfilled now.

    It carries a code as AWS's errors do, so that a caller can tell it from wrong input, and facts for the result.
    """
    return Ec2Error(message=message, error={"code": code, "message": message}, **facts)


class InstanceErrors(AWSErrorHandler):
    """Handler for calls on instances."""

    _CUSTOM_EXCEPTION = Ec2Error

    @classmethod
    def _is_missing(cls) -> t.Any:
        return is_boto3_error_code("InvalidInstanceID.NotFound")


class PlacementGroupErrors(AWSErrorHandler):
    """Handler for calls on placement groups."""

    _CUSTOM_EXCEPTION = Ec2Error

    @classmethod
    def _is_missing(cls) -> t.Any:
        return is_boto3_error_code("InvalidPlacementGroup.Unknown")


class AddressErrors(AWSErrorHandler):
    """Handler for calls on elastic IP addresses."""

    _CUSTOM_EXCEPTION = Ec2Error

    @classmethod
    def _is_missing(cls) -> t.Any:
        return is_boto3_error_code("InvalidAssociationID.NotFound")


class Ec2Retry(CloudRetry):
    """Repeats throttled calls, server errors and lost connections; nothing else unless asked."""

    base_class: t.Any = _REPEATABLE_ERRORS

    @staticmethod
    def status_code_from_exception(error: BaseException) -> str:
        """The AWS code, or the exception's name for a connection that broke."""
        response = getattr(error, "response", None)
        return response["Error"]["Code"] if response else type(error).__name__

    @staticmethod
    def found(response_code: str, catch_extra_error_codes: t.Collection[str] | None = None) -> bool:
        """Tell whether a call that ended in this code may be repeated."""
        lost = response_code in {error.__name__ for error in _REPEATABLE_ERRORS}
        known = response_code in THROTTLING_CODES or response_code in SERVER_CODES
        return lost or known or response_code in (catch_extra_error_codes or ())


# Six tries, 7.75 s of pauses on average: EC2's buckets for reading refill by 20 a second.
retry_call = Ec2Retry.jittered_backoff(retries=6, delay=0.5, backoff=2.0, max_delay=8)
# The same for what names one instance that was seen a moment ago: EC2 may not know a new one everywhere yet.
retry_new = Ec2Retry.jittered_backoff(
    retries=6, delay=0.5, backoff=2.0, max_delay=8, catch_extra_error_codes=["InvalidInstanceID.NotFound"]
)
# Four tries, 3.5 s on average and 7 s at most. RunInstances refills by 2 a second; a new group may not be known
# everywhere yet. Each try carries the same ClientToken, so a lost answer cannot launch twice.
retry_launch = Ec2Retry.jittered_backoff(
    retries=4, delay=1, backoff=2.0, max_delay=4, catch_extra_error_codes=["InvalidPlacementGroup.Unknown"]
)


def ec2_client(module: AnsibleAWSModule, service: str = "ec2") -> Client:
    """Return a client that sends each request once. The user's O(aws_config) is applied over it.

    Fails the module when boto3 is too old for the requests to come, before the first of them.
    """
    problem = too_old()
    if problem is not None:
        module.fail_json(msg=problem)
    return module.client(service, config=dict(_CONFIG))


def fail(module: AnsibleAWSModule, error: Ec2Error) -> t.NoReturn:
    """End the module with the error's text, its AWS code as RV(ignore:error.code), and the facts that it carries."""
    if error.exception is None:
        module.fail_json(msg=error.message, **error.kwargs)
    if getattr(error.exception, "response", None) is None:
        # botocore's own errors, such as a lost connection, have no code of AWS: their names serve as such.
        told = {"code": type(error.exception).__name__, "message": str(error.exception)}
        error.kwargs.setdefault("error", told)
    module.fail_json_aws(error.exception, msg=error.message, **error.kwargs)
