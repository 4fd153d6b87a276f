# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the options of a round, checked before anything is launched."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import MOST_TAGS, OWN_TAGS
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import (
    CONNECTS,
    METRICS,
    PROBE_MODES,
    STATISTICS,
    Criteria,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import check_choice

#: Connection options of AWS modules: group defaults of module_defaults do not reach modules that an
#: action starts, so the action hands these on itself.
AWS_OPTIONS: tuple[str, ...] = (
    "access_key",
    "aws_ca_bundle",
    "aws_config",
    "debug_botocore_endpoint_logs",
    "endpoint_url",
    "profile",
    "region",
    "secret_key",
    "session_token",
    "validate_certs",
)

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    **{name: {"type": "str"} for name in AWS_OPTIONS},
    "aws_config": {"type": "dict"},
    "debug_botocore_endpoint_logs": {"type": "bool"},
    "validate_certs": {"type": "bool"},
    "addresses_from": {"type": "path"},
    "addresses_refresh_hours": {"type": "float"},
    "allow_spot_survivor": {"type": "bool", "default": False},
    "availability_zone": {"type": "str"},
    "candidate_lifetime_min": {"type": "int", "default": 120},
    "candidate_name": {"type": "str", "default": "DC-Search"},
    "champion_store": {"type": "str"},
    "confirm": {"type": "bool", "default": True},
    "connect": {"type": "str", "default": "public", "choices": ["public", "private", "eip"]},
    "criteria": {"type": "dict", "default": {}},
    "elastic_ip": {"type": "str"},
    "endpoints": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "addresses": {"type": "list", "elements": "str", "default": []},
        },
    },
    "image_id": {"type": "str", "required": True},
    "instance_types": {"type": "list", "elements": "str", "required": True},
    "key_name": {"type": "str", "required": True},
    "key_path": {"type": "path", "required": True},
    "launch_timeout_s": {"type": "int", "default": 300},
    "market": {"type": "str", "default": "on-demand", "choices": ["on-demand", "spot"]},
    "max_failures_in_row": {"type": "int", "default": 5},
    "max_hours": {"type": "float"},
    "max_rounds": {"type": "int", "default": 200},
    "max_usd": {"type": "float"},
    "metric": {"type": "str", "default": "wall", "choices": list(METRICS)},
    "min_gain_us": {"type": "float", "default": 1.0},
    "patience": {"type": "int"},
    "placement_group_base": {"type": "str", "default": "dc-machine-cpg"},
    "prices_usd": {"type": "dict", "default": {}},
    "primary_endpoint": {"type": "str", "required": True},
    "probe": {
        "type": "dict",
        "default": {},
        "options": {
            "block_size": {"type": "int"},
            "connect": {"type": "str", "choices": list(CONNECTS), "default": "blocking"},
            "cpu": {"type": "str"},
            "error_rate": {"type": "float"},
            "full_addresses": {"type": "int"},
            "indifference": {"type": "float"},
            "max_rate": {"type": "int"},
            "max_rate_per_address": {"type": "int"},
            "probe_mode": {"type": "str", "choices": list(PROBE_MODES), "default": "adaptive"},
            "quiet_load": {"type": "float"},
            "quiet_timeout_s": {"type": "int"},
            "realtime": {"type": "bool"},
            "resolve_attempts": {"type": "int"},
            "samples": {"type": "int", "default": 10000},
            "source_ports": {"type": "int"},
            "timeout_ms": {"type": "int"},
            "verify_tls": {"type": "bool"},
            "warmup": {"type": "int"},
        },
    },
    "probe_timeout_s": {"type": "int", "default": 1800},
    "python_interpreter": {"type": "str", "default": "/usr/bin/python3"},
    "qualified_wanted": {"type": "int", "default": 0},
    "reports_dir": {"type": "path", "required": True},
    "root_device_name": {"type": "str"},
    "search_id": {"type": "str", "required": True},
    "security_group_ids": {"type": "list", "elements": "str", "required": True},
    "ssh_timeout_s": {"type": "int", "default": 300},
    "statistic": {"type": "str", "default": "best", "choices": list(STATISTICS)},
    "subnet_id": {"type": "str", "required": True},
    "tags": {"type": "dict", "default": {}},
    "user": {"type": "str", "default": "ec2-user"},
    "volume_size_gib": {"type": "int"},
    "volume_usd_gib_month": {"type": "float"},
}


class OptionError(ValueError):
    """An option cannot be used; the message names it and its value in one line."""

    def __init__(self, option: str, value: object, why: str) -> None:
        super().__init__(f"{option}: {value!r} {why}")


@dataclass(frozen=True)
class RoundOptions:
    """What a round was asked to do. Names and meanings are those of the module's documentation."""

    addresses_from: str | None
    addresses_refresh_hours: float | None
    allow_spot_survivor: bool
    availability_zone: str | None
    candidate_lifetime_min: int
    candidate_name: str
    champion_store: str | None
    confirm: bool
    connect: str
    criteria: Mapping[str, t.Any]
    elastic_ip: str | None
    endpoints: Sequence[Mapping[str, t.Any]]
    image_id: str
    instance_types: Sequence[str]
    key_name: str
    key_path: str
    launch_timeout_s: int
    market: str
    max_failures_in_row: int
    max_hours: float | None
    max_rounds: int
    max_usd: float | None
    metric: str
    min_gain_us: float
    patience: int | None
    placement_group_base: str
    prices_usd: Mapping[str, t.Any]
    primary_endpoint: str
    probe: Mapping[str, t.Any]
    probe_timeout_s: int
    python_interpreter: str
    qualified_wanted: int
    reports_dir: str
    root_device_name: str | None
    search_id: str
    security_group_ids: Sequence[str]
    ssh_timeout_s: int
    statistic: str
    subnet_id: str
    tags: Mapping[str, str]
    user: str
    volume_size_gib: int | None
    volume_usd_gib_month: float | None
    aws: Mapping[str, t.Any]

    @classmethod
    def from_args(cls, args: Mapping[str, t.Any]) -> RoundOptions:
        """Build from validated arguments. Raises OptionError for what no single option can show."""
        own: dict[str, t.Any] = {field.name: args.get(field.name) for field in fields(cls) if field.name != "aws"}
        aws = {name: args[name] for name in AWS_OPTIONS if args.get(name) is not None}
        options = cls(aws=aws, **own)
        for check in (
            _check_endpoints,
            _check_counts,
            _check_hits,
            _check_choice,
            _check_key,
            _check_store,
            _check_tags,
        ):
            check(options)
        return options

    @property
    def samples(self) -> int:
        """Handshakes wanted of each address."""
        return int(self.probe["samples"])

    @property
    def probe_connect(self) -> str:
        """How the probe waits for the end of a handshake: figures of one way are not compared with another's."""
        return str(self.probe.get("connect") or "blocking")

    @property
    def probe_mode(self) -> str:
        """How the probe spreads its samples: the same holds of it."""
        return str(self.probe.get("probe_mode") or "adaptive")

    @property
    def terms(self) -> dict[str, t.Any]:
        """What two candidates must have in common for their figures to be compared."""
        return {
            "primary_endpoint": self.primary_endpoint,
            "metric": self.metric,
            "statistic": self.statistic,
            "connect": self.probe_connect,
            "probe_mode": self.probe_mode,
            "samples": self.samples,
        }


def check_slots(slots: int, forks: int, connect: str) -> None:
    """Refuse more slots than forks: the slots above would wait for whole searches of the others."""
    if slots > forks:
        raise OptionError("search_slot_count", slots, f"is more than forks ({forks}): run with --forks {slots} or more")
    if connect == "eip" and slots > 1:
        raise OptionError("search_connect", connect, f"takes one slot, since there is one address, not {slots}")


def _check_endpoints(options: RoundOptions) -> None:
    names = [endpoint["name"] for endpoint in options.endpoints]
    if not names:
        raise OptionError("search_endpoints", names, "is empty")
    if len(set(names)) != len(names):
        raise OptionError("search_endpoints", names, "names an endpoint twice")
    if options.primary_endpoint not in names:
        raise OptionError("search_primary_endpoint", options.primary_endpoint, f"is none of {', '.join(names)}")


def _check_counts(options: RoundOptions) -> None:
    for name, value, least in (
        ("probe_samples", options.samples, 1),
        ("search_max_rounds", options.max_rounds, 1),
        ("search_qualified_wanted", options.qualified_wanted, 0),
        ("search_candidate_lifetime_min", options.candidate_lifetime_min, 5),
        ("search_addresses_refresh_hours", options.addresses_refresh_hours or 0.0, 0),
        ("search_max_usd", options.max_usd or 0.0, 0),
        ("search_min_gain_us", options.min_gain_us, 0),
        ("search_patience", 1 if options.patience is None else options.patience, 1),
        ("search_volume_usd_gib_month", options.volume_usd_gib_month or 0.0, 0),
    ):
        if value < least:
            raise OptionError(name, value, f"is below {least}")


def _check_hits(options: RoundOptions) -> None:
    criteria = Criteria.from_dict(options.criteria)
    if criteria.best_us is not None and criteria.best_min_hits > options.samples:
        why = f"is more than an address has handshakes (probe_samples: {options.samples})"
        raise OptionError("search_criteria.best_min_hits", criteria.best_min_hits, why)


def _check_choice(options: RoundOptions) -> None:
    if not options.instance_types:
        raise OptionError("search_instance_types", list(options.instance_types), "is empty")
    if options.connect == "eip" and not options.elastic_ip:
        raise OptionError("search_connect", options.connect, "needs an Elastic IP (network_allocate_elastic_ip)")


def _check_key(options: RoundOptions) -> None:
    path = os.path.expanduser(options.key_path)
    if not os.path.isfile(path):
        raise OptionError("search_key_path", options.key_path, "is no file")
    if not os.access(path, os.R_OK):
        raise OptionError("search_key_path", options.key_path, "cannot be read")


def _check_store(options: RoundOptions) -> None:
    try:
        check_choice(options.champion_store)
    except ValueError as error:
        raise OptionError("search_champion_store", options.champion_store, str(error)) from error


def _check_tags(options: RoundOptions) -> None:
    most = MOST_TAGS - OWN_TAGS
    if len(options.tags) > most:
        why = f"are too many: AWS allows {MOST_TAGS} for an instance, and the search has {OWN_TAGS} of its own"
        raise OptionError("tags", len(options.tags), why)
