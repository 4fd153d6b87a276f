# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: read the figures of a probe's result.

Pure functions on the dictionaries that the probe returns: no clock, no network, no Ansible. An address
counts only when it completed the handshakes that were asked of it and its figures are finite and above 0;
a figure that cannot be trusted is a missing figure.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from .._statistics import bin_width_us
from .criteria import METRICS, Criteria, number

Endpoint = Mapping[str, t.Any]
Probe = t.Optional[Mapping[str, t.Any]]


def endpoints_of(probe: Probe) -> list[Endpoint]:
    """The endpoints of a probe's result, none for a round without one."""
    return list((probe or {}).get("endpoints") or [])


def endpoint_named(probe: Probe, name: str) -> Endpoint | None:
    """The endpoint of that name, or None."""
    return next((endpoint for endpoint in endpoints_of(probe) if endpoint.get("name") == name), None)


def completed(address: Mapping[str, t.Any]) -> int:
    """Handshakes that an address completed; 0 where the count is missing."""
    count = number(address.get("samples"))
    return int(count) if count is not None and count > 0 else 0


def figure_us(address: Mapping[str, t.Any], metric: str, key: str) -> float | None:
    """One figure of an address in microseconds, or None when it is missing, not finite or not above 0."""
    value = number((address.get(metric) or {}).get(key))
    return value if value is not None and value > 0 else None


def complete_addresses(endpoint: Endpoint, samples: int | None = None) -> Iterator[Mapping[str, t.Any]]:
    """The addresses of an endpoint that completed exactly so many handshakes; with None, any at all.

    A minimum gets lower with more handshakes, so only equal counts are compared: an address that an adaptive probe
    ended early is none of these.
    """
    for address in endpoint.get("addresses") or []:
        count = completed(address)
        if count and samples in (None, count):
            yield address


def lowest(endpoint: Endpoint, metric: str, key: str, samples: int | None = None) -> dict[str, t.Any] | None:
    """The address with the lowest C(key) (C(best_us), C(median_us)) by C(metric).

    Returns C({address, wall_us, wire_us, samples}), or None without a usable figure. Of equal figures the address
    that sorts first is taken, so that the order of addresses does not matter.
    """
    address = _lowest_address(endpoint, metric, key, samples)
    if address is None:
        return None
    figures = {f"{each}_us": figure_us(address, each, key) for each in METRICS}
    return {"address": str(address.get("address")), **figures, "samples": completed(address)}


def _lowest_address(endpoint: Endpoint, metric: str, key: str, samples: int | None) -> Mapping[str, t.Any] | None:
    found: list[tuple[float, str, Mapping[str, t.Any]]] = []
    for address in complete_addresses(endpoint, samples):
        value = figure_us(address, metric, key)
        if value is not None:
            found.append((value, str(address.get("address")), address))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def nearest(
    endpoint: Endpoint | None, metric: str, samples: int | None = None, statistic: str = "best"
) -> dict[str, t.Any] | None:
    """The address of an endpoint with the lowest C(statistic), C(best) or C(p0_1), or None without a usable figure.

    Returns C({address, figure_us, best_us, p0_1_us, samples}); C(figure_us) is the statistic's.
    """
    address = None if endpoint is None else _lowest_address(endpoint, metric, f"{statistic}_us", samples)
    if address is None:
        return None
    return {
        "address": str(address.get("address")),
        "figure_us": figure_us(address, metric, f"{statistic}_us"),
        "best_us": figure_us(address, metric, "best_us"),
        "p0_1_us": figure_us(address, metric, "p0_1_us"),
        "samples": completed(address),
    }


def ended_early(endpoint: Endpoint | None, samples: int) -> dict[str, t.Any]:
    """How the addresses that an adaptive probe ended early did end: C({handshakes, how: {beaten: 7, dropped: 1}})."""
    how: dict[str, int] = {}
    handshakes = 0
    for address in (endpoint or {}).get("addresses") or []:
        word = (address.get("ended") or {}).get("how")
        if word and word != "full" and completed(address) != samples:
            how[str(word)] = how.get(str(word), 0) + 1
            handshakes += completed(address)
    return {"handshakes": handshakes, "how": dict(sorted(how.items()))}


def best_addresses(probe: Probe, metric: str = "wall", samples: int | None = None) -> list[dict[str, t.Any]]:
    """Which address of each endpoint to use: the one with the best median, and the one with the best handshake.

    Returns one C({endpoint, host, port, pin, best_median, best}) for each endpoint, in the probe's order;
    C(best_median) and C(best) are C({address, wall_us, wire_us, samples}) or None. C(pin) is the address of the best
    median: a single lucky handshake says less about the next million than the middle of ten thousand.
    An endpoint of which no address has C(samples) shows the best of those that ended early: an address is to be used
    there, too, and the count says what it rests on. What is compared or judged goes by L(nearest).
    """
    rows: list[dict[str, t.Any]] = []
    for endpoint in endpoints_of(probe):
        whole = next(complete_addresses(endpoint, samples), None) is not None
        count = samples if whole else None
        median = lowest(endpoint, metric, "median_us", count)
        rows.append(
            {
                "endpoint": endpoint.get("name"),
                "host": endpoint.get("host"),
                "port": endpoint.get("port"),
                "pin": median["address"] if median else None,
                "best_median": median,
                "best": lowest(endpoint, metric, "best_us", count),
            }
        )
    return rows


def hits_at_most(address: Mapping[str, t.Any], metric: str, limit_us: float) -> int:
    """How many handshakes of an address surely took at most C(limit_us).

    The probe's own count, when it was asked about this very limit. Else the best proves one, and the histogram those
    in bins that end at or below the limit; handshakes in the bin that holds the limit are left out, since a bin does
    not tell where in it they lie.
    """
    counted = address.get("hits") or {}
    count = number(counted.get("count"))
    if count is not None and (counted.get("metric"), number(counted.get("limit_us"))) == (metric, limit_us):
        return int(count)
    best_us = figure_us(address, metric, "best_us")
    proven = 1 if best_us is not None and best_us <= limit_us else 0
    histogram = (address.get("histogram") or {}).get(metric) or {}
    bins = zip(histogram.get("edge_us") or [], histogram.get("count") or [])
    inside = sum(int(count) for edge_us, count in bins if edge_us + bin_width_us(int(edge_us)) <= limit_us)
    return max(proven, inside)


def anchor_hits(
    probe: Probe, criteria: Criteria, metric: str, samples: int | None = None, statistic: str = "best"
) -> list[dict[str, t.Any]]:
    """The addresses of any endpoint that meet the criteria: by their median first, then those with the most hits.

    Returns a list of C({endpoint, address, median_us, best_us, p0_1_us, samples, hits, by}); C(by) is the limit that
    was met: C(median) where both were, else the C(statistic) that C(best_us) of the criteria was held against.
    C(hits) is how many handshakes surely lay at or below C(best_us) of the criteria, None when that is off.
    """
    found: list[dict[str, t.Any]] = []
    for endpoint in endpoints_of(probe):
        for address in complete_addresses(endpoint, samples):
            by = _met(address, criteria, metric, statistic)
            if by is not None:
                limit_us = criteria.best_us
                found.append(
                    {
                        "endpoint": str(endpoint.get("name")),
                        "address": str(address.get("address")),
                        **{key: figure_us(address, metric, key) for key in ("median_us", "best_us", "p0_1_us")},
                        "samples": completed(address),
                        "hits": None if limit_us is None else hits_at_most(address, metric, limit_us),
                        "by": by,
                    }
                )
    return sorted(found, key=_hit_order)


def _hit_order(hit: Mapping[str, t.Any]) -> tuple[bool, float, float, str, str]:
    # A median is no stroke of luck; of those that passed by their best, the most hits are the best witness.
    by_median = hit["by"] == "median"
    first_us = hit["median_us"] if by_median else hit["best_us"]
    hits = 0 if by_median else -(hit["hits"] or 0)
    return (not by_median, hits, float("inf") if first_us is None else first_us, hit["endpoint"], hit["address"])


def _met(address: Mapping[str, t.Any], criteria: Criteria, metric: str, statistic: str) -> str | None:
    median_us = figure_us(address, metric, "median_us")
    if criteria.median_us is not None and median_us is not None and median_us <= criteria.median_us:
        return "median"
    low_us = figure_us(address, metric, f"{statistic}_us")
    if criteria.best_us is None or low_us is None or low_us > criteria.best_us:
        return None
    return statistic if hits_at_most(address, metric, criteria.best_us) >= criteria.best_min_hits else None


def measured_addresses(probe: Probe) -> int:
    """How many addresses of all endpoints completed at least one handshake."""
    return sum(1 for endpoint in endpoints_of(probe) for _address in complete_addresses(endpoint))


def counts_of(probe: Probe) -> dict[str, int]:
    """Sums over all addresses: C(addresses), C(handshakes) completed and each kind of error."""
    total: dict[str, int] = {"addresses": 0, "handshakes": 0}
    for endpoint in endpoints_of(probe):
        for address in endpoint.get("addresses") or []:
            total["addresses"] += 1
            total["handshakes"] += completed(address)
            for kind, count in sorted((address.get("errors") or {}).items()):
                total[kind] = total.get(kind, 0) + int(number(count) or 0)
    return total
