# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS may do to an instance of its own accord: its maintenance options, and the events that are scheduled for it.

Private to lowlatency.ec2: its interface may change at any time.

A recovery and a migration at a reboot both put the instance on another host, and an anchor is worth its host.
"""

from __future__ import annotations

import typing as t

from . import calls
from .batches import batches
from .client import Client, Ec2Error
from .transformations import MAINTENANCE_OPTIONS, candidate_of, scheduled_events_of
from .waiters import WaitTimeout, wait_until

# DescribeInstanceStatus takes this many ids.
STATUS_IDS = 100
#: Codes that say that the type or the market of an instance knows no such option: nothing can be done about it.
NOT_OFFERED = frozenset({"Unsupported", "UnsupportedOperation"})


def wanted_of(options: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The maintenance options that a module was asked for, by option."""
    return {name: options[name] for name in MAINTENANCE_OPTIONS if options[name] is not None}


def set_options(
    client: Client, instance_id: str, wanted: t.Mapping[str, str], timeout_s: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Set them in one request and read them back; return what EC2 shows then, and the code by option that it refused.

    An option that EC2 does not show as set when the time is up counts as refused, with C(WaitTimeout): an instance is
    worth keeping without it.
    """
    try:
        calls.modify_instance_maintenance_options(
            client, instance_id, {MAINTENANCE_OPTIONS[name]: value for name, value in wanted.items()}
        )
    except Ec2Error as error:
        if error.code not in NOT_OFFERED:
            raise
        return {}, {name: str(error.code) for name in wanted}
    try:
        seen = wait_until(lambda: _read(client, instance_id), lambda shown: wanted.items() <= shown.items(), timeout_s)
    except WaitTimeout as timeout:
        return timeout.last, {name: "WaitTimeout" for name in wanted if timeout.last.get(name) != wanted[name]}
    return seen, {}


def _read(client: Client, instance_id: str) -> dict[str, str]:
    found = calls.describe_instances_by_id(client, [instance_id])
    options: dict[str, str] = candidate_of(found[0])["maintenance_options"] if found else {}
    return options


def scheduled_events(client: Client, instance_ids: t.Sequence[str]) -> dict[str, list[dict[str, t.Any]]]:
    """Map each instance to the events that AWS has scheduled for it."""
    found: dict[str, list[dict[str, t.Any]]] = {name: [] for name in instance_ids}
    for some in batches(instance_ids, STATUS_IDS):
        statuses = calls.describe_instance_status(client, some)
        found.update({status["InstanceId"]: scheduled_events_of(status) for status in statuses})
    return found
