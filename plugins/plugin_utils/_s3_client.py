# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: an S3 client of an action, made of the connection options that the AWS modules are given."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_conn, get_aws_connection_info
from ansible_collections.amazon.aws.plugins.module_utils.modules import aws_argument_spec
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import StoreError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import CLIENT_CONFIG


class _Asking:
    """What amazon.aws takes for the module that asks for a client."""

    _name = "lowlatency.ec2.search_round"

    def __init__(self, params: Mapping[str, t.Any]) -> None:
        self.params = dict(params)

    def fail_json(self, msg: str, **_more: t.Any) -> t.NoReturn:
        """End with the text. Raises StoreError."""
        raise StoreError(f"search_champion_store: no client for S3: {msg}")


def s3_client(aws: Mapping[str, t.Any]) -> t.Any:
    """A boto3 client. Options that are not given come from the environment, as in the modules. Raises StoreError."""
    validated = ArgumentSpecValidator(aws_argument_spec()).validate(dict(aws))
    # It asks for a module, and takes no more of it than this.
    asking: t.Any = _Asking(validated.validated_parameters)
    if validated.error_messages:
        asking.fail_json("; ".join(validated.error_messages))
    region, endpoint_url, more = get_aws_connection_info(asking)
    return boto3_conn(
        asking,
        conn_type="client",
        resource="s3",
        region=region,
        endpoint=endpoint_url,
        config=dict(CLIENT_CONFIG),
        **more,
    )
