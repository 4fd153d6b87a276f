# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds, probes and champions as the real parts return them, to build tests from."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import next_champion, verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import bin_edge_us

Document = dict[str, t.Any]

#: Endpoints of the first search, with the network that a lab gives the addresses of each.
ENDPOINTS: tuple[tuple[str, str, str], ...] = (
    ("fapi-mm", "fapi-mm.binance.com", "198.19.1"),
    ("ws-fapi-mm", "ws-fapi-mm.binance.com", "198.19.2"),
    ("fstream-mm", "fstream-mm.binance.com", "198.19.3"),
)
PRIMARY = "fstream-mm"
SAMPLES = 500
TIMESTAMP = "2025-07-22T05:35:26+00:00"
ERRORS = ("timeout", "refused", "reset", "unreachable", "other", "retransmitted")


def figures(best_us: float, median_us: float) -> Document:
    """A summary of one metric around its best and its median."""
    return {
        "best_us": best_us,
        "p0_1_us": round(best_us + 0.4, 3),
        "median_us": median_us,
        "median_low_us": round(median_us - 0.3, 3),
        "median_high_us": round(median_us + 0.4, 3),
        "p99_us": round(median_us * 1.4, 3),
        "p99_9_us": round(median_us * 2.1, 3),
    }


def histogram(best_us: float, median_us: float, samples: int) -> Document:
    """Half of the samples at the best and half at the median, in the bins that the probe makes."""
    counts: dict[int, int] = {}
    for value_us, count in ((best_us, samples // 2), (median_us, samples - samples // 2)):
        edge_us = bin_edge_us(int(value_us))
        counts[edge_us] = counts.get(edge_us, 0) + count
    return {"edge_us": sorted(counts), "count": [counts[edge_us] for edge_us in sorted(counts)]}


def address(
    name: str, best_us: float = 150.0, median_us: float = 170.0, samples: int = SAMPLES, **errors: int
) -> Document:
    """An address with its figures; wire times lie 17 microseconds below wall times. With 0 samples it was silent."""
    wall = figures(best_us, median_us) if samples else None
    wire = figures(round(best_us - 17, 3), round(median_us - 17, 3)) if samples else None
    empty: Document = {"edge_us": [], "count": []}
    return {
        "address": name,
        "samples": samples,
        "errors": {**dict.fromkeys(ERRORS, 0), **errors},
        "other_codes": {},
        "dropped": samples == 0,
        "wall": wall,
        "wire": wire,
        "histogram": {
            "wall": histogram(best_us, median_us, samples) if samples else empty,
            "wire": histogram(best_us - 17, median_us - 17, samples) if samples else empty,
        },
    }


def endpoint(name: str, addresses: Iterable[Mapping[str, t.Any]], host: str | None = None, port: int = 443) -> Document:
    """An endpoint of a probe's result, with the lowest median and the lowest best of its addresses."""
    listed = [dict(each) for each in addresses]
    return {
        "name": name,
        "host": host or f"{name}.binance.com",
        "port": port,
        "resolve_error": None,
        "addresses": listed,
        "best_median": _lowest(listed, "median_us"),
        "best": _lowest(listed, "best_us"),
    }


def _lowest(addresses: Sequence[Document], key: str) -> Document | None:
    measured = [each for each in addresses if each["wall"]]
    if not measured:
        return None
    found = min(measured, key=lambda each: each["wall"][key])
    return {"address": found["address"], "wall_us": found["wall"][key], "wire_us": found["wire"][key]}


def probe(endpoints: Sequence[Mapping[str, t.Any]], samples: int = SAMPLES) -> Document:
    """A probe's result over these endpoints."""
    return {
        "endpoints": [dict(each) for each in endpoints],
        "handshakes": sum(each["samples"] for one in endpoints for each in one["addresses"]),
        "duration_s": 41.2,
        "method": {"mode": "exhaustive", "connect": "blocking", "samples": samples, "python": "3.11.2"},
        "changed": False,
    }


def rack_probe(best_us: float = 150.0, addresses: int = 8, samples: int = SAMPLES) -> Document:
    """What a candidate sees whose rack reaches its nearest address of the primary endpoint in C(best_us).

    The other addresses and endpoints lie further off, 3 and 10 microseconds a step; medians 20 above the best.
    """
    found = []
    for step, (name, host, network) in enumerate(reversed(ENDPOINTS)):
        rows = []
        for index in range(addresses):
            nearest_us = round(best_us + 10 * step + 3 * index, 3)
            rows.append(address(f"{network}.{index + 1}", nearest_us, round(nearest_us + 20, 3), samples))
        found.append(endpoint(name, rows, host))
    return probe(list(reversed(found)), samples)


def ended(row: Mapping[str, t.Any], how: str, samples: int, by: str = "champion") -> Document:
    """The same address as an adaptive probe leaves it that ended it after so many handshakes."""
    best_us, median_us = row["wall"]["best_us"], row["wall"]["median_us"]
    told = {"how": how, "by": by, "samples": samples, "log_likelihood_ratio": -6.9}
    return {**address(row["address"], best_us, median_us, samples), "dropped": how == "dropped", "ended": told}


def adaptive_probe(best_us: float = 150.0, how: str = "beaten", samples: int = 60) -> Document:
    """What L(rack_probe) is when every address was ended early, in one way."""
    made = rack_probe(best_us)
    for one in made["endpoints"]:
        one["addresses"] = [ended(row, how, samples) for row in one["addresses"]]
    return {**made, "method": {**made["method"], "mode": "adaptive"}}


def confirm(differences_us: Sequence[float | None], **more: t.Any) -> Document:
    """A paired comparison with the champion of L(champion) in which the newcomer differed by so many microseconds."""
    pairs = [
        {"first": "champion", "champion_us": 150.0, "newcomer_us": None if each is None else 150.0 + each}
        for each in differences_us
    ]
    return {
        "champion": "i-0abc123",
        "newcomer": "i-014fc6ce2eed063b7",
        "outcome": "measured",
        "failure": None,
        "endpoint": PRIMARY,
        "metric": "wall",
        "statistic": "best",
        "samples": 100,
        "pairs": pairs,
        **more,
    }


def silent_probe(addresses: int = 8) -> Document:
    """A probe that no address answered: three tries each, all of them timeouts."""
    endpoints = []
    for name, host, network in ENDPOINTS:
        rows = [address(f"{network}.{index + 1}", samples=0, timeout=3) for index in range(addresses)]
        endpoints.append(endpoint(name, rows, host))
    return probe(endpoints)


def limits(**more: t.Any) -> Document:
    """A round's limits: the first of eight rounds of a search for one anchor."""
    return {
        "primary_endpoint": PRIMARY,
        "metric": "wall",
        "statistic": "best",
        "connect": "blocking",
        "probe_mode": "exhaustive",
        "samples": SAMPLES,
        "confirm": False,
        "round_number": 1,
        "max_rounds": 8,
        "failures_in_row": 0,
        "max_failures_in_row": 5,
        "qualified_wanted": 0,
        "qualified_count": 0,
        "anchor": None,
        "stop_requested": False,
        "elapsed_s": 42.0,
        "max_hours": None,
        "spent_usd": None,
        "max_usd": None,
        "check_mode": False,
        **more,
    }


def candidate(instance_id: str = "i-014fc6ce2eed063b7", **more: t.Any) -> Document:
    """A candidate that runs in a placement group of its own."""
    return {
        "instance_id": instance_id,
        "instance_type": "c8g.24xlarge",
        "placement_group": f"dc-machine-cpg-1753162526-{instance_id[-4:]}",
        "private_ip_address": "198.18.0.17",
        "public_ip_address": "198.18.4.17",
        "state": "running",
        "market": "on-demand",
        **more,
    }


def champion(best_us: float = 142.5, instance_id: str = "i-0abc123", **more: t.Any) -> Document:
    """A sitting champion, as champion_state.json holds it."""
    made = next_champion(
        candidate=candidate(instance_id),
        probe=rack_probe(best_us),
        limits=limits(),
        round_id="search-1-r0",
        since="2025-07-22T04:00:00+00:00",
    )
    return {**made, **more}


def round_result(
    outcome: str = "measured",
    *,
    best_us: float = 150.0,
    criteria: Mapping[str, t.Any] | None = None,
    champion_before: Mapping[str, t.Any] | None = None,
    failure: Mapping[str, t.Any] | None = None,
    round_limits: Mapping[str, t.Any] | None = None,
    instance_id: str = "i-014fc6ce2eed063b7",
    **more: t.Any,
) -> Document:
    """A whole round as the action returns it, judged by the decision core. C(more) replaces keys before that."""
    result: Document = {
        "search_id": "search-1",
        "round_id": "search-1-r1",
        "round_number": 1,
        "slot": "slot-1",
        "timestamp": TIMESTAMP,
        "outcome": outcome,
        "failure": failure,
        "launch_attempts": [],
        "candidate": candidate(instance_id) if outcome in ("measured", "failed") else None,
        "probe": rack_probe(best_us) if outcome == "measured" else None,
        "confirm": None,
        "champion_before": champion_before,
        "champion": champion_before,
        "limits": dict(round_limits or limits()),
        "timings": {"launch_s": 3.2, "ssh_s": 4.1, "probe_s": 41.2, "round_s": 52.0},
        "cost_usd": None,
        **more,
    }
    result["round_number"] = result["limits"]["round_number"]
    result["verdict"] = judge(result, criteria)
    if result["verdict"]["is_champion"]:
        result["champion"] = next_champion(
            candidate=result["candidate"],
            probe=result["probe"],
            limits=result["limits"],
            round_id=result["round_id"],
            since=result["timestamp"],
        )
    return result


def judge(result: Mapping[str, t.Any], criteria: Mapping[str, t.Any] | None = None) -> Document:
    """The verdict on a round's own figures."""
    return verdict(
        outcome=result["outcome"],
        probe=result["probe"],
        criteria=criteria,
        champion_before=result["champion_before"],
        limits=result["limits"],
        failure=result["failure"],
        instance_id=(result["candidate"] or {}).get("instance_id"),
        confirm=result["confirm"],
    )
