# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of EC2 for a program that is no module, from the same connection options as the modules take.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_inventory_conn
from ansible_collections.amazon.aws.plugins.module_utils.modules import aws_argument_spec

from .client import Client

#: Shorter than the modules': who uses this has a minute in all.
_CONFIG = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 15}


def with_environment(aws: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The connection options with those that a module would take from the environment."""
    found = dict(aws)
    for name, spec in aws_argument_spec().items():
        # A profile and keys exclude each other; what was given goes before what is in the environment.
        if found.get(name) is None and not _excluded(name, found):
            variables: list[str] = (spec.get("fallback") or (None, []))[1]
            found[name] = next((environment[each] for each in variables if environment.get(each)), spec.get("default"))
    return found


def _excluded(name: str, given: t.Mapping[str, t.Any]) -> bool:
    keys = ("access_key", "secret_key", "session_token")
    if name in keys:
        return given.get("profile") is not None
    return name == "profile" and any(given.get(key) is not None for key in keys)


def connect(aws: t.Mapping[str, t.Any], user_agent: str, service: str = "ec2") -> Client:
    """Return a client that sends each request once and says in its user agent who asks."""
    options = with_environment(aws, os.environ)
    validate_certs = options.get("validate_certs")
    keys = {
        "aws_access_key_id": options.get("access_key"),
        "aws_secret_access_key": options.get("secret_key"),
        "aws_session_token": options.get("session_token"),
    }
    return boto3_inventory_conn(
        conn_type="client",
        resource=service,
        region=options.get("region"),
        endpoint=options.get("endpoint_url"),
        config={**_CONFIG, **(options.get("aws_config") or {}), "user_agent_extra": user_agent},
        verify=options["aws_ca_bundle"] if validate_certs and options.get("aws_ca_bundle") else validate_certs,
        **({"profile_name": options["profile"]} if options.get("profile") else {k: v or None for k, v in keys.items()}),
    )
