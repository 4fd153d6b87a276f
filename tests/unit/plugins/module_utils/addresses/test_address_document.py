# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discoverer's document: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import EndpointBook, Entry
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import (
    book_from,
    book_from_text,
    document_from,
    seconds_of,
    stamp,
)
from hypothesis import given
from hypothesis import strategies as st

NOW_S = 1_700_000_000

seconds = st.integers(0, 4_000_000_000)
maybe_seconds = st.none() | seconds
counts = st.integers(0, 10_000)
entries = st.builds(Entry, seconds, seconds, maybe_seconds, maybe_seconds, counts, counts, counts)
ips = st.integers(0x01000000, 0xDFFFFFFF).map(lambda number: ".".join(str(byte) for byte in number.to_bytes(4, "big")))


@st.composite
def endpoint_books(draw: st.DrawFn) -> EndpointBook:
    known = draw(st.dictionaries(ips, entries, max_size=6))
    dead = draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
    return EndpointBook(
        draw(st.text(min_size=1, max_size=20)),
        draw(st.integers(1, 65_535)),
        {address: entry for address, entry in known.items() if address not in dead},
        {address: known[address] for address in dead},
        draw(counts),
        draw(maybe_seconds),
    )


@given(st.dictionaries(st.text(max_size=10), endpoint_books(), max_size=4))
def test_what_is_written_is_read_again(book: dict[str, EndpointBook]) -> None:
    text = json.dumps(document_from(book, NOW_S), allow_nan=False)
    assert book_from_text(text) == book


@given(seconds)
def test_times_are_exact_to_the_second(at_s: int) -> None:
    assert seconds_of(stamp(at_s)) == at_s


def test_a_time_of_another_offset_and_with_z_is_the_same_time() -> None:
    assert seconds_of("2023-11-14T23:13:20+01:00") == seconds_of("2023-11-14T22:13:20Z") == NOW_S


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_any_other_json_is_refused_in_a_line(value: t.Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        book_from(value)


def document() -> dict[str, t.Any]:
    book = {"mine": EndpointBook("host", 443, {"198.19.3.1": Entry(NOW_S, NOW_S)})}
    return document_from(book, NOW_S)


#: Where something is put that can't be there.
PLACES: list[tuple[str, ...]] = [
    ("schema_version",),
    ("endpoints",),
    ("endpoints", "mine"),
    ("endpoints", "mine", "host"),
    ("endpoints", "mine", "port"),
    ("endpoints", "mine", "addresses"),
    ("endpoints", "mine", "refusals_in_row"),
    ("endpoints", "mine", "refused_at"),
    ("endpoints", "mine", "addresses", "198.19.3.1"),
    ("endpoints", "mine", "addresses", "198.19.3.1", "first_seen"),
    ("endpoints", "mine", "addresses", "198.19.3.1", "last_alive"),
    ("endpoints", "mine", "addresses", "198.19.3.1", "checks"),
]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
@pytest.mark.parametrize(
    "wrong", [True, -1, 1.5, "x", [1], "1969-12-31T23:59:59+00:00", "2023-11-14T22:13:20"], ids=str
)
def test_a_value_that_cannot_be_is_refused(place: tuple[str, ...], wrong: object) -> None:
    if place[-1] == "host" and isinstance(wrong, str):
        return
    broken = copy.deepcopy(document())
    holder: t.Any = broken
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = wrong
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        book_from(broken)


@pytest.mark.parametrize("address", ["nonsense", "0.0.0.0", "::1", ""])
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    broken = document()
    broken["endpoints"]["mine"]["addresses"] = {address: broken["endpoints"]["mine"]["addresses"]["198.19.3.1"]}
    with pytest.raises(ValueError, match="addresses"):
        book_from(broken)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", b"\xff\xfe\xfa", "null"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        book_from_text(text)


def test_a_document_of_the_contract_alone_is_read() -> None:
    """Keys that were added later may be missing."""
    at = "2026-11-22T08:43:00+00:00"
    entry = {"first_seen": at, "last_seen": at, "last_alive": at, "checks": 3, "failures": 1}
    given_document = {
        "schema_version": 1,
        "endpoints": {"mine": {"host": "host", "port": 443, "addresses": {"198.19.3.1": entry}}},
    }
    assert book_from(given_document)["mine"].addresses["198.19.3.1"].answers
