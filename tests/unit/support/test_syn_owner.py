# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the owner of the rig's device answers, and whom."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.syn_behaviour import Behaviour
from support.syn_owner import ACK, FIN, RST, SYN, AddressState, answer_to, checksum, stray_reset

CLIENT, TARGET = socket.inet_aton("198.19.248.1"), socket.inet_aton("198.19.248.11")
NUMBERS = st.integers(min_value=0, max_value=2**32 - 1)


def packet(port: int, sequence: int, flags: int) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0) + CLIENT + TARGET
    return head + struct.pack("!HHIIBBHHH", port, 443, sequence, 0, 0x50, flags, 1_024, 0, 0)


@given(
    st.integers(min_value=1, max_value=65_535),
    NUMBERS,
    NUMBERS,
    st.sampled_from([SYN | ACK, RST | ACK, FIN | ACK]),
)
def test_answers_are_whole_and_go_back(port: int, sequence: int, acknowledged: int, flags: int) -> None:
    answer = answer_to(packet(port, 5, SYN), flags, sequence, acknowledged)
    assert (answer[12:16], answer[16:20]) == (TARGET, CLIENT)
    assert struct.unpack_from("!HHII", answer, 20) == (443, port, sequence, acknowledged)
    assert answer[33] == flags
    assert int.from_bytes(answer[2:4], "big") == len(answer)
    # RFC 1071: over data with its own checksum in it the sum is zero.
    assert checksum(answer[:20]) == 0
    pseudo = TARGET + CLIENT + struct.pack("!HH", socket.IPPROTO_TCP, len(answer) - 20)
    assert checksum(pseudo + answer[20:]) == 0


def test_the_stray_reset_is_whole_and_goes_to_the_client() -> None:
    stray = stray_reset(TARGET, CLIENT)
    assert (stray[12:16], stray[16:20], stray[33]) == (TARGET, CLIENT, RST | ACK)
    assert checksum(stray[:20]) == 0
    assert checksum(TARGET + CLIENT + struct.pack("!HH", socket.IPPROTO_TCP, 20) + stray[20:]) == 0


def answered(behaviour: Behaviour, count: int, seed: int = 1) -> list[bool]:
    state, chance = AddressState(behaviour), random.Random(seed)
    return [state.wants_answer(state.is_again(n.to_bytes(6, "big")), chance) for n in range(count)]


def test_every_nth_connection_is_lost_once() -> None:
    assert answered(Behaviour(lose_every=3), 6) == [True, True, False, True, True, False]
    state, chance = AddressState(Behaviour(lose_every=1)), random.Random(1)
    assert [state.wants_answer(state.is_again(b"same"), chance) for _time in range(3)] == [False, True, True]
    assert (state.connections, state.lost) == (1, 1)


def test_a_random_share_is_lost_and_the_seed_says_which() -> None:
    some = answered(Behaviour(lose_share=0.2), 5_000)
    # Four deviations of 5,000 draws.
    assert some.count(False) / 5_000 == pytest.approx(0.2, abs=0.023)
    assert some == answered(Behaviour(lose_share=0.2), 5_000)
    assert some != answered(Behaviour(lose_share=0.2), 5_000, seed=2)


def test_silence_is_for_good() -> None:
    assert answered(Behaviour(silent_after=2), 4) == [True, True, False, False]
    assert answered(Behaviour(silent_after=0), 2) == [False, False]
