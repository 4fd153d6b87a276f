# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe's records as plain data: the result that a round keeps and the progress that a person watches.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lowlatency.ec2.plugins.module_utils._handshake import AddressRecord
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_plan import Endpoint
from ansible_collections.lowlatency.ec2.plugins.module_utils._resolve import Resolution
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import histogram_us, summarise_us

NS_PER_US = 1_000


def address_result(record: AddressRecord) -> dict[str, Any]:
    """What is kept of an address: sample count, errors by kind, and the summaries, null without a sample."""
    measured = len(record.wall_ns) > 0
    return {
        "address": record.address,
        "samples": len(record.wall_ns),
        "errors": dict(record.errors),
        "other_codes": dict(record.other_codes),
        "dropped": record.dropped,
        "wall": summarise_us(record.wall_ns, per_us=NS_PER_US) if measured else None,
        "wire": summarise_us(record.wire_us) if measured else None,
        "histogram": {
            "wall": histogram_us(record.wall_ns, per_us=NS_PER_US),
            "wire": histogram_us(record.wire_us),
        },
    }


def endpoint_result(endpoint: Endpoint, resolution: Resolution, records: Iterable[AddressRecord]) -> dict[str, Any]:
    """An endpoint with all its addresses, and which of them has the lowest median and which the lowest best."""
    addresses = [address_result(record) for record in records]
    error = resolution.error
    return {
        "name": endpoint.name,
        "host": endpoint.host,
        "port": endpoint.port,
        "resolve_error": {"code": error[0], "message": error[1]} if error else None,
        "addresses": addresses,
        "best_median": lowest(addresses, "median_us"),
        "best": lowest(addresses, "best_us"),
    }


def lowest(addresses: Sequence[Mapping[str, Any]], figure: str) -> dict[str, Any] | None:
    """The address whose wall figure is lowest, with its wire figure beside it; None when no address was measured.

    Ties go to the lower wire figure, then to the address that stands first.
    """
    measured = [one for one in addresses if one["wall"] is not None]
    if not measured:
        return None
    winner = min(measured, key=lambda one: (one["wall"][figure], one["wire"][figure]))
    return {"address": winner["address"], "wall_us": winner["wall"][figure], "wire_us": winner["wire"][figure]}


def handshakes_tried(records: Iterable[AddressRecord]) -> int:
    """Handshakes that became a sample or failed; a warm-up handshake that went well is not in it."""
    return sum(len(record.wall_ns) + sum(record.errors.values()) for record in records)


def progress(stage: str, records: Sequence[AddressRecord], elapsed_s: float) -> dict[str, Any]:
    """State of a probe that is under way; stage is one of resolve, warmup, measure and done.

    Shape: ``{stage, handshakes_done, handshakes_total, addresses, addresses_dropped, elapsed_s, best: [{name, address,
    wall_us}]}``, with the best handshake so far of each endpoint that has one. Done and total count samples, and the
    total shrinks by what a dropped address still lacked, so that done reaches total unless tries ran out.
    """
    best: dict[str, AddressRecord] = {}
    for record in records:
        if record.best_ns is None:
            continue
        rival = best.get(record.endpoint)
        if rival is None or rival.best_ns is None or record.best_ns < rival.best_ns:
            best[record.endpoint] = record
    return {
        "stage": stage,
        "handshakes_done": sum(len(record.wall_ns) for record in records),
        "handshakes_total": sum(len(record.wall_ns) if record.dropped else record.samples for record in records),
        "addresses": sum(not record.dropped for record in records),
        "addresses_dropped": sum(record.dropped for record in records),
        "elapsed_s": round(elapsed_s, 3),
        "best": [
            {"name": name, "address": record.address, "wall_us": round((record.best_ns or 0) / NS_PER_US, 3)}
            for name, record in best.items()
        ],
    }
