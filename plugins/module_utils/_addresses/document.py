# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document of the address discoverer: an address book as JSON, and back.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible. Standard library
only: it runs on instances.

    {"schema_version": 1, "written_at": "2026-11-22T08:43:00+00:00", "endpoints": {"fstream-mm": {
      "host": "fstream-mm.binance.com", "port": 443, "refusals_in_row": 0, "refused_at": null,
      "addresses": {"198.19.3.1": {"first_seen": T, "last_seen": T, "last_alive": T or null, "last_checked": T or null,
                                   "checks": 12, "failures": 1, "failures_in_row": 0}},
      "dead": {}}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .book import (
    Book,
    EndpointBook,
    Entry,
    in_order,
    is_one_host,
)

SCHEMA_VERSION = 1

_COUNTS = ("checks", "failures", "failures_in_row")


def stamp(seconds: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def seconds_of(text: object) -> int:
    """Seconds since 1970 of an ISO 8601 time with its offset. Raises ValueError, also for a time before 1970."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no time")
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    seconds = int(moment.timestamp())
    if seconds < 0:
        raise ValueError(f"{text!r} is before 1970")
    return seconds


def document_from(book: Book, now_s: int) -> dict[str, Any]:
    """The book as it is written."""
    return {
        "schema_version": SCHEMA_VERSION,
        "written_at": stamp(now_s),
        "endpoints": {
            name: {
                "host": endpoint.host,
                "port": endpoint.port,
                "refusals_in_row": endpoint.refusals_in_row,
                "refused_at": _stamp_or_none(endpoint.refused_at_s),
                "addresses": _entries(endpoint.addresses),
                "dead": _entries(endpoint.dead),
            }
            for name, endpoint in book.items()
        },
    }


def _entries(entries: Mapping[str, Entry]) -> dict[str, dict[str, Any]]:
    return {
        address: {
            "first_seen": stamp(entries[address].first_seen_s),
            "last_seen": stamp(entries[address].last_seen_s),
            "last_alive": _stamp_or_none(entries[address].last_alive_s),
            "last_checked": _stamp_or_none(entries[address].last_checked_s),
            **{name: getattr(entries[address], name) for name in _COUNTS},
        }
        for address in in_order(entries)
    }


def _stamp_or_none(seconds: int | None) -> str | None:
    return None if seconds is None else stamp(seconds)


def book_from_text(text: str | bytes) -> dict[str, EndpointBook]:
    """The book of a document's text. Raises ValueError, which says what is wrong with it."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return book_from(document)


def book_from(document: object) -> dict[str, EndpointBook]:
    """The book of a document. Raises ValueError, which says what is wrong with it."""
    whole = _mapping("the document", document)
    version = whole.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"its schema_version is {version!r}, this collection reads {SCHEMA_VERSION}")
    endpoints = _mapping("endpoints", whole.get("endpoints"))
    return {str(name): _endpoint(f"endpoints[{name!r}]", each) for name, each in endpoints.items()}


def _endpoint(where: str, given: object) -> EndpointBook:
    endpoint = _mapping(where, given)
    host, port = endpoint.get("host"), endpoint.get("port")
    if not isinstance(host, str) or not host:
        raise ValueError(f"{where}.host: {host!r} is no host")
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65_535:
        raise ValueError(f"{where}.port: {port!r} is no TCP port")
    addresses = _entries_from(f"{where}.addresses", endpoint.get("addresses"))
    dead = _entries_from(f"{where}.dead", endpoint.get("dead") or {})
    return EndpointBook(
        host,
        port,
        addresses,
        {address: entry for address, entry in dead.items() if address not in addresses},
        _count(where, endpoint, "refusals_in_row"),
        _seconds_or_none(endpoint.get("refused_at")),
    )


def _entries_from(where: str, given: object) -> dict[str, Entry]:
    entries = {}
    for address, each in _mapping(where, given).items():
        if not is_one_host(address):
            raise ValueError(f"{where}: {address!r} is not the IPv4 address of one host")
        entry = _mapping(f"{where}[{address}]", each)
        first_seen_s = seconds_of(entry.get("first_seen"))
        entries[address] = Entry(
            first_seen_s,
            seconds_of(entry.get("last_seen")),
            _seconds_or_none(entry.get("last_alive")),
            _seconds_or_none(entry.get("last_checked")),
            *(_count(f"{where}[{address}]", entry, name) for name in _COUNTS),
        )
    return entries


def _seconds_or_none(text: object) -> int | None:
    return None if text is None else seconds_of(text)


def _count(where: str, holder: Mapping[str, Any], name: str) -> int:
    count = holder.get(name, 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{where}.{name}: {count!r} is no count")
    return count


def _mapping(where: str, given: object) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{where} is no JSON object")
    return given
