# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe's records as plain data: the result that a round keeps and the progress that a person watches.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._statistics import histogram_us, summarise_us
from .handshake import AddressRecord
from .plan import Asked, Endpoint
from .port_spread import port_rows, port_spread
from .resolve import Resolution

NS_PER_US = 1_000

_NOTHING = Asked()

#: How an address may end, in the order in which a person is told.
WAYS_TO_END = ("full", "below", "above", "beaten", "undecided", "dropped")


def address_result(record: AddressRecord, asked: Asked = _NOTHING) -> dict[str, Any]:
    """What is kept of an address: sample count, errors by kind, and the summaries, null without a sample."""
    measured = len(record.wall_ns) > 0
    return {
        "address": record.address,
        "samples": len(record.wall_ns),
        "ended": record.ended,
        "errors": dict(record.errors),
        "other_codes": dict(record.other_codes),
        "dropped": record.dropped,
        "wall": summarise_us(record.wall_ns, per_us=NS_PER_US) if measured else None,
        "wire": summarise_us(record.wire_us) if measured else None,
        "histogram": {
            "wall": histogram_us(record.wall_ns, per_us=NS_PER_US),
            "wire": histogram_us(record.wire_us),
        },
        "ports": port_rows(record.ports, record.wall_ns, record.wire_us),
        "port_spread": port_spread(record.ports, _times_us(record, asked.metric)),
        "hits": _hits(record, asked),
        "tls": record.tls,
    }


def _hits(record: AddressRecord, asked: Asked) -> dict[str, Any] | None:
    """How many samples met the limit of single handshakes, counted and not estimated; None when it was not asked."""
    limit_us = asked.best_limit_us
    if limit_us is None:
        return None
    # To the nanosecond, as summaries are.
    count = sum(round(time_us, 3) <= limit_us for time_us in _times_us(record, asked.metric))
    return {"metric": asked.metric, "limit_us": limit_us, "count": count}


def _times_us(record: AddressRecord, metric: str) -> list[float]:
    return [wall_ns / NS_PER_US for wall_ns in record.wall_ns] if metric == "wall" else list(record.wire_us)


def endpoint_result(
    endpoint: Endpoint,
    resolution: Resolution,
    refused: Iterable[tuple[str, str]],
    records: Iterable[AddressRecord],
    asked: Asked = _NOTHING,
) -> dict[str, Any]:
    """An endpoint with all its addresses, and which of them has the lowest median and which the lowest best.

    refused are answers of DNS that are not measured, as ``(address, reason)``.
    """
    addresses = [address_result(record, asked) for record in records]
    error = resolution.error
    return {
        "name": endpoint.name,
        "host": endpoint.host,
        "port": endpoint.port,
        "resolve_error": {"code": error[0], "message": error[1]} if error else None,
        "refused_answers": [{"address": address, "reason": reason} for address, reason in refused],
        "addresses": addresses,
        "best_median": lowest(addresses, "median_us"),
        "best": lowest(addresses, "best_us"),
    }


def lowest(addresses: Sequence[Mapping[str, Any]], figure: str) -> dict[str, Any] | None:
    """The address whose wall figure is lowest, with its wire figure beside it; None when no address was measured.

    Only addresses with their full samples are compared, because a lowest handshake of 50 is no match for one of 10,000;
    all of them when there is no such address. ``samples`` is how many are behind the figure. Ties go to the lower wire
    figure, then to the address that stands first.
    """
    measured = [one for one in addresses if one["wall"] is not None]
    complete = [one for one in measured if one["ended"] is not None and one["ended"]["how"] == "full"]
    if not measured:
        return None
    winner = min(complete or measured, key=lambda one: (one["wall"][figure], one["wire"][figure]))
    return {
        "address": winner["address"],
        "wall_us": winner["wall"][figure],
        "wire_us": winner["wire"][figure],
        "samples": winner["samples"],
    }


def handshakes_tried(records: Iterable[AddressRecord]) -> int:
    """Handshakes that became a sample or failed; a warm-up handshake that went well is not in it."""
    return sum(len(record.wall_ns) + sum(record.errors.values()) for record in records)


def endings(records: Iterable[AddressRecord]) -> str:
    """How many addresses ended in which way, as ``3 full, 21 above``, in a fixed order."""
    ways = [record.ended["how"] for record in records if record.ended is not None]
    return ", ".join(f"{ways.count(how)} {how}" for how in WAYS_TO_END if how in ways)


def limit_out_of_reach(records: Sequence[AddressRecord], asked: Asked) -> str:
    """A sentence when limits were asked about and no handshake at all reached the highest of them, else nothing."""
    limits_us = [limit for limit in (asked.median_limit_us, asked.best_limit_us) if limit is not None]
    lowest_us = [_lowest_us(record, asked.metric) for record in records if len(record.wall_ns)]
    if not limits_us or not lowest_us or min(lowest_us) <= max(limits_us):
        return ""
    return f"No handshake reached a limit: the lowest took {min(lowest_us):.1f} us, the limit is {max(limits_us):g} us."


def _lowest_us(record: AddressRecord, metric: str) -> float:
    return min(record.wall_ns) / NS_PER_US if metric == "wall" else float(min(record.wire_us))


def progress(
    stage: str, records: Sequence[AddressRecord], elapsed_s: float, most_full: int | None = None
) -> dict[str, Any]:
    """State of a probe that is under way; stage is one of resolve, quiet, warmup, measure, tls and done.

    Shape: ``{stage, handshakes_done, handshakes_total, addresses, addresses_dropped, addresses_decided, elapsed_s,
    best: [{name, address, wall_us, samples}]}``, with the best handshake so far of each endpoint that has one. Done and
    total count samples. Of an address that was dropped or has ended, total counts what it has; of the others it counts
    full samples for as many as still may get them (most_full, all if None). So it shrinks, and done reaches it.
    """
    return {
        "stage": stage,
        "handshakes_done": sum(len(record.wall_ns) for record in records),
        "handshakes_total": _expected(records, most_full),
        "addresses": sum(not record.dropped for record in records),
        "addresses_dropped": sum(record.dropped for record in records),
        "addresses_decided": sum(record.ended is not None and not record.dropped for record in records),
        "elapsed_s": round(elapsed_s, 3),
        "best": [
            {
                "name": name,
                "address": record.address,
                "wall_us": round((record.best_ns or 0) / NS_PER_US, 3),
                "samples": len(record.wall_ns),
            }
            for name, record in _best_records(records).items()
        ],
    }


def _expected(records: Sequence[AddressRecord], most_full: int | None) -> int:
    done = [len(record.wall_ns) for record in records]
    lacking = sorted(
        record.samples - len(record.wall_ns) for record in records if not record.dropped and record.ended is None
    )
    return sum(done) + sum(lacking[:most_full])


def _best_records(records: Iterable[AddressRecord]) -> dict[str, AddressRecord]:
    best: dict[str, AddressRecord] = {}
    for record in records:
        if record.best_ns is None:
            continue
        rival = best.get(record.endpoint)
        if rival is None or rival.best_ns is None or record.best_ns < rival.best_ns:
            best[record.endpoint] = record
    return best
