# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hidden pools: answers of eight addresses that show all of them in time."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.exchange.dns import hosts_file, split_hosts
from local_region.exchange.pool import PoolResponder

HOST = "fapi-mm.binance.com"
POOL = [f"198.19.1.{number}" for number in range(1, 57)]


def responder() -> PoolResponder:
    return PoolResponder({HOST: POOL}, shown=8, ttl_s=1, seed=1)


def query(host: str, kind: int = 1, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
    return struct.pack("!HHHHHH", 4711, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def addresses_in(answer: bytes) -> list[str]:
    """The addresses of an answer whose records all name the question, as this responder's do."""
    count = struct.unpack_from("!H", answer, 6)[0]
    records = answer[len(answer) - 16 * count :]
    return [".".join(str(part) for part in records[16 * n + 12 : 16 * n + 16]) for n in range(count)]


def test_seven_answers_show_each_of_56_addresses_once() -> None:
    pool = responder()
    seen = []
    for _dummy in range(7):
        answer = pool.answer(query(HOST))
        assert answer is not None
        assert len(addresses_in(answer)) == 8
        seen += addresses_in(answer)
    assert sorted(seen) == sorted(POOL)


def test_an_answer_is_that_to_its_question() -> None:
    answer = responder().answer(query(HOST))
    assert answer is not None
    number, flags, questions, answers, *_dummy = struct.unpack_from("!HHHHHH", answer)
    assert (number, flags & 0x800F, questions, answers) == (4711, 0x8000, 1, 8)
    assert answer[12:].startswith(query(HOST)[12:])


def test_names_are_told_apart_without_regard_to_case() -> None:
    answer = responder().answer(query("FAPI-mm.Binance.com"))
    assert answer is not None
    assert len(addresses_in(answer)) == 8


@pytest.mark.parametrize(("host", "kind", "code"), [(HOST, 28, 0), ("example.com", 1, 3)])
def test_what_is_not_there_is_denied(host: str, kind: int, code: int) -> None:
    answer = responder().answer(query(host, kind))
    assert answer is not None
    assert addresses_in(answer) == []
    assert struct.unpack_from("!H", answer, 2)[0] & 0x000F == code


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fall(message: bytes) -> None:
    answer = responder().answer(message)
    assert answer is None or answer[:2] == message[:2]


def test_an_answer_is_not_answered() -> None:
    assert responder().answer(query(HOST, flags=0x8100)) is None


def test_only_a_host_with_more_than_eight_addresses_has_a_pool() -> None:
    plain, pools = split_hosts({"a": POOL[:8], "b": POOL[:9]})
    assert (list(plain), list(pools)) == (["a"], ["b"])


def test_the_hosts_file_holds_each_address_once() -> None:
    lines = hosts_file({HOST: POOL[:8]}, seed=1).splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(POOL[:8])
    assert {line.split()[1] for line in lines} == {HOST}
