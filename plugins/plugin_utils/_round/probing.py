# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what a round asks of the probe. Pure functions on plain values."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import DEFAULTS, allowed_rate
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import champion_figure_us, statistic_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import (
    complete_addresses,
    endpoint_named,
    figure_us,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.paired import BLOCK_SAMPLES
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import RoundOptions

#: Parts of a probe's result that a round keeps.
KEPT: tuple[str, ...] = (
    "endpoints",
    "handshakes",
    "handshakes_planned",
    "duration_s",
    "method",
    "client_address",
    "cpu_allowed",
    "allowances",
    "quiet",
    "clock_steps",
)

#: Options of the search's probe that a short probe of a paired comparison is made with too.
_SHARED: tuple[str, ...] = (
    "block_size",
    "connect",
    "cpu",
    "max_rate",
    "max_rate_per_address",
    "realtime",
    "source_ports",
    "timeout_ms",
)

#: Handshakes that warm up each address before a short probe.
_WARMUP_PER_ADDRESS = 3


#: A handshake may take so many times its median before turns get late, and there is so much between two of them.
_TYPICAL_SHARE, _BETWEEN_S = 1.5, 100e-6

#: Seconds of a turn in which no handshake is made: the start of the probe and the figures at its end.
_TURN_SLACK_S = 0.15


def probe_options(
    options: RoundOptions,
    criteria: Criteria,
    champion: Mapping[str, t.Any] | None,
    endpoints: Sequence[Mapping[str, t.Any]],
    progress_path: str,
) -> dict[str, t.Any]:
    """Options of M(lowlatency.ec2.latency_probe) for a round: what was given, and what adaptive mode decides by."""
    decides = {
        "metric": options.metric,
        "median_limit_us": criteria.median_us,
        "best_limit_us": criteria.best_us,
        "best_min_hits": hits_wanted(criteria, options.statistic, options.samples),
        "primary_endpoint": options.primary_endpoint,
        "champion_us": None if champion is None else champion_figure_us(champion),
        "champion_statistic": options.statistic if champion is None else statistic_of(champion),
    }
    asked = {**options.probe, **decides}
    return {
        **{name: value for name, value in asked.items() if value is not None},
        "endpoints": [dict(endpoint) for endpoint in endpoints],
        "progress_path": progress_path,
    }


def hits_wanted(criteria: Criteria, statistic: str, samples: int) -> int:
    """Handshakes at or under the best limit that are sure to meet it.

    The quantile of 0.1 % lies between two ordered samples (definition 7 of Hyndman and Fan); when the upper one is at
    or under the limit, so is the quantile.
    """
    if statistic == "best":
        return criteria.best_min_hits
    return max(criteria.best_min_hits, math.ceil((samples - 1) * 0.001) + 1)


def short_probe_options(options: RoundOptions, addresses: Sequence[str]) -> dict[str, t.Any]:
    """Options of one short probe of a paired comparison: these addresses of the primary endpoint, each in full."""
    shared = {name: options.probe.get(name) for name in _SHARED}
    endpoint = next(each for each in options.endpoints if each["name"] == options.primary_endpoint)
    return {
        **{name: value for name, value in shared.items() if value is not None},
        "endpoints": [{**endpoint, "addresses": list(addresses)}],
        "metric": options.metric,
        "probe_mode": "exhaustive",
        "samples": short_samples(options),
        "warmup": _WARMUP_PER_ADDRESS * len(addresses),
    }


def turn_s(options: RoundOptions, addresses: Sequence[str], probe: Mapping[str, t.Any] | None) -> float:
    """Seconds that a short probe may take: as its rates allow, and as long as handshakes took in the round's probe."""
    defaults = {name: DEFAULTS[name] for name in ("max_rate", "max_rate_per_address")}
    caps = {name: options.probe.get(name) or value for name, value in defaults.items()}
    endpoint = endpoint_named(probe, options.primary_endpoint) or {}
    seen_us = [
        figure_us(each, "wall", "median_us") for each in complete_addresses(endpoint) if each["address"] in addresses
    ]
    longest_s = max((each for each in seen_us if each), default=0.0) / 1e6
    handshake_s = max(1 / allowed_rate(addresses, **caps), _TYPICAL_SHARE * longest_s + _BETWEEN_S)
    return len(addresses) * (short_samples(options) + _WARMUP_PER_ADDRESS) * handshake_s + _TURN_SLACK_S


def short_samples(options: RoundOptions) -> int:
    """Handshakes of each address in a short probe: no more than the search itself makes."""
    return min(BLOCK_SAMPLES, options.samples)
