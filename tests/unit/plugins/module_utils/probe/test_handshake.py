# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One handshake against real sockets, and many against a clock that stands still until it is told to move."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import Outcome, connector
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.handshake import (
    CREDIT_NS,
    ERROR_KINDS,
    NS_PER_S,
    SPIN_NS,
    AddressRecord,
    Campaign,
    LoopbackTouch,
    Pacer,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import most_attempts
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.schedule import ExhaustiveBlocks
from hypothesis import given
from hypothesis import strategies as st

ANSWER = Outcome(0, 120_000, 100, 0)
LATE = Outcome(0, 1_100_000_000, 1_000_000, 1)
REFUSED = Outcome(errno.ECONNREFUSED, 50_000, 0, 0)
TIMEOUT = Outcome(errno.EINPROGRESS, 100_000_000, 0, 0)

Answers = Callable[[str, int], Outcome]


class Clock:
    """Time that passes only in sleeps, in handshakes, and by a step for each look at it, as in a spin."""

    def __init__(self, step_ns: int = 1_000) -> None:
        self.now_ns = 0
        self.step_ns = step_ns
        self.slept_ns = 0
        self.looks = 0

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        self.looks += 1
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        taken_ns = int(seconds * NS_PER_S) + 60_000
        self.now_ns += taken_ns
        self.slept_ns += taken_ns


class Bench:
    """A campaign over addresses that answer as told, with the start of every handshake written down."""

    def __init__(self, addresses: list[str], answers: Answers, *, samples: int = 50, **caps: int) -> None:
        self.clock = Clock()
        self.starts: list[tuple[int, str]] = []
        self.touches = 0
        self._answers = answers
        self._tries: Counter[str] = Counter()
        self.records = [AddressRecord(f"e{n}", address, 443, samples) for n, address in enumerate(addresses)]
        chance = random.Random(7)
        self.campaign = Campaign(
            self.records,
            connect=self._connect,
            pacer=Pacer(self.clock, self.clock.sleep, chance.random, self._touch),
            max_rate=caps.get("max_rate", 4_000),
            max_rate_per_address=caps.get("max_rate_per_address", 200),
            shuffle=chance.shuffle,
            report=lambda _now_ns: None,
        )

    def _connect(self, address: tuple[str, int]) -> Outcome:
        self.starts.append((self.clock.now_ns, address[0]))
        self._tries[address[0]] += 1
        outcome = self._answers(address[0], self._tries[address[0]])
        self.clock.now_ns += outcome.wall_ns + 40_000
        return outcome

    def _touch(self) -> None:
        self.touches += 1

    def measure(self, block_size: int) -> None:
        self.campaign.measure(ExhaustiveBlocks(self.records, block_size))

    def tries(self) -> Counter[str]:
        return Counter(address for _start, address in self.starts)


def always(outcome: Outcome) -> Answers:
    return lambda _address, _try: outcome


# --- one handshake, on real sockets ---


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as made:
        yield made


def test_handshake_has_a_wall_and_a_wire_time(listener: socket.socket) -> None:
    outcome = connector("blocking", 1_000, time.perf_counter_ns)(listener.getsockname())
    assert outcome.code == 0
    assert outcome.retransmits == 0
    assert 0 < outcome.wire_us <= outcome.wall_ns / 1_000
    accepted, peer = listener.accept()
    accepted.close()
    assert outcome.port == peer[1]


def test_connection_is_closed_with_a_reset(listener: socket.socket) -> None:
    connector("blocking", 1_000, time.perf_counter_ns)(listener.getsockname())
    accepted, _peer = listener.accept()
    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_only_the_connect_is_timed(listener: socket.socket) -> None:
    times_ns = iter([1_000, 98_000])
    assert connector("blocking", 1_000, lambda: next(times_ns))(listener.getsockname()).wall_ns == 97_000
    with pytest.raises(StopIteration):
        next(times_ns)


def test_port_that_nobody_listens_on_refuses() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        outcome = connector("blocking", 1_000, time.perf_counter_ns)(closed.getsockname())
    assert (outcome.code, outcome.wire_us) == (errno.ECONNREFUSED, 0)


def test_blocking_connect_ends_at_its_timeout_with_an_error_of_its_own() -> None:
    # A listener whose queue is full drops SYNs, so the handshake stays unanswered.
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())
        outcome = connector("blocking", 30, time.perf_counter_ns)(full.getsockname())
    assert outcome.code == errno.EINPROGRESS
    assert outcome.wall_ns >= 30_000_000


def test_touch_is_refused_by_this_host() -> None:
    with closing(LoopbackTouch()) as touch:
        assert touch().code == errno.ECONNREFUSED


# --- what is kept of an address ---


def test_samples_keep_both_times_and_the_best() -> None:
    record = AddressRecord("e", "a", 443, 3)
    for wall_ns, wire_us in ((120_000, 100), (98_000, 81), (130_000, 104)):
        record.note(Outcome(0, wall_ns, wire_us, 0), measured=True)
    assert list(record.wall_ns) == [120_000, 98_000, 130_000]
    assert list(record.wire_us) == [100, 81, 104]
    assert record.best_ns == 98_000
    assert record.wanted == 0


def test_warmup_counts_errors_but_keeps_no_sample() -> None:
    record = AddressRecord("e", "a", 443, 3)
    record.note(ANSWER, measured=False)
    record.note(REFUSED, measured=False)
    assert (len(record.wall_ns), record.errors["refused"], record.best_ns, record.wanted) == (0, 1, None, 3)


def test_ports_are_those_of_the_samples() -> None:
    record = AddressRecord("e", "a", 443, 3)
    record.note(ANSWER._replace(port=40_001), measured=False)
    record.note(ANSWER._replace(port=40_002), measured=True)
    record.note(REFUSED, measured=True)
    record.note(ANSWER._replace(port=65_535), measured=True)
    assert (list(record.ports), len(record.wall_ns)) == ([40_002, 65_535], 2)


def test_handshake_without_a_round_trip_time_is_no_sample_and_no_death() -> None:
    record = AddressRecord("e", "a", 443, 100)
    for _time in range(30):
        record.note(ANSWER._replace(wire_us=0), measured=True)
    assert (len(record.wall_ns), record.dropped) == (0, False)
    assert (record.errors["other"], record.other_codes) == (30, {"NO_RTT": 30})


def test_retransmitted_handshake_is_no_sample_and_no_death() -> None:
    record = AddressRecord("e", "a", 443, 1_000)
    for _time in range(100):
        record.note(LATE, measured=True)
    assert record.errors == {**dict.fromkeys(ERROR_KINDS, 0), "retransmitted": 100}
    assert (len(record.wall_ns), record.dropped) == (0, False)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EINPROGRESS, "timeout"),
        (errno.EAGAIN, "timeout"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EADDRNOTAVAIL, "other"),
        (99_999, "other"),
    ],
)
def test_errors_are_counted_by_kind(code: int, kind: str) -> None:
    record = AddressRecord("e", "a", 443, 3)
    record.note(Outcome(code, 1_000, 0, 0), measured=True)
    assert record.errors == {**dict.fromkeys(ERROR_KINDS, 0), kind: 1}
    assert record.other_codes == ({errno.errorcode.get(code, str(code)): 1} if kind == "other" else {})


# --- many of them ---


def test_every_address_reaches_its_samples() -> None:
    bench = Bench(["a", "b", "c"], always(ANSWER), samples=47)
    bench.measure(10)
    assert [len(record.wall_ns) for record in bench.records] == [47, 47, 47]
    assert bench.tries() == {"a": 47, "b": 47, "c": 47}


def test_failed_handshakes_are_made_up_for() -> None:
    bench = Bench(["a", "b"], lambda address, tries: TIMEOUT if address == "a" and tries % 25 == 0 else ANSWER)
    bench.measure(10)
    assert [len(record.wall_ns) for record in bench.records] == [50, 50]
    assert bench.records[0].errors["timeout"] == bench.tries()["a"] - 50 > 0


def test_tries_end_when_an_address_fails_too_often() -> None:
    bench = Bench(["a"], lambda _address, tries: ANSWER if tries % 2 else REFUSED, samples=400)
    bench.measure(10)
    record = bench.records[0]
    assert bench.tries()["a"] == most_attempts(400)
    assert len(record.wall_ns) + record.errors["refused"] == most_attempts(400)
    assert not record.dropped


def test_dead_address_is_dropped_in_the_warmup_after_three() -> None:
    bench = Bench(["dead", "a"], lambda address, _try: TIMEOUT if address == "dead" else ANSWER)
    bench.campaign.warm_up(100)
    bench.measure(10)
    assert bench.tries() == {"dead": 3, "a": 50 + 50}
    assert bench.records[0].dropped
    assert bench.records[0].errors["timeout"] == 3


def test_dead_address_is_dropped_after_three_without_a_warmup_too() -> None:
    bench = Bench(["dead"], always(REFUSED))
    bench.campaign.warm_up(0)
    bench.measure(10)
    assert bench.tries() == {"dead": 3}


def test_address_that_dies_later_is_dropped_after_twenty_in_a_row() -> None:
    bench = Bench(["a", "b"], lambda address, tries: TIMEOUT if address == "a" and tries > 15 else ANSWER)
    bench.measure(10)
    assert (len(bench.records[0].wall_ns), bench.records[0].errors["timeout"]) == (15, 20)
    assert len(bench.records[1].wall_ns) == 50


def test_address_that_fails_in_a_row_sits_out_more_and_more_turns() -> None:
    bench = Bench(["a", "b"], lambda address, tries: REFUSED if address == "a" and tries > 5 else ANSWER)
    bench.measure(10)
    tries = [number for number, (_start, address) in enumerate(bench.starts) if address == "a"]
    assert len(tries) == 5 + 20
    at_ns = [bench.starts[number][0] for number in tries[5:]]
    gaps = [round((after - before) * 200 / NS_PER_S) for before, after in zip(at_ns[1:], at_ns[2:])]
    # Doubled, up to 64 turns; the block's other address has turns of its own in some of the gaps.
    assert all(later >= earlier * 0.7 for earlier, later in zip(gaps, gaps[1:]))
    assert max(gaps) <= 64 * 1.5
    assert min(gaps[-10:]) >= 64 * 0.7


def test_address_that_fails_once_sits_out_nothing() -> None:
    record = AddressRecord("e", "a", 443, 100)
    record.note(ANSWER, measured=True)
    record.note(REFUSED, measured=True)
    assert not record.sits_out()


def test_address_that_answers_again_sits_out_nothing() -> None:
    record = AddressRecord("e", "a", 443, 100)
    record.note(ANSWER, measured=True)
    for _time in range(3):
        record.note(REFUSED, measured=True)
    assert [record.sits_out() for _turn in range(4)] == [True, True, True, False]
    record.note(ANSWER, measured=True)
    record.note(REFUSED, measured=True)
    assert not record.sits_out()


def test_turns_that_were_sat_out_are_made_up_for_within_the_caps() -> None:
    bench = Bench(
        ["a", "b", "c"], lambda address, tries: REFUSED if address == "a" and 10 <= tries < 16 else ANSWER, samples=100
    )
    bench.measure(10)
    assert [len(record.wall_ns) for record in bench.records] == [100, 100, 100]
    for name in "abc":
        own = [start for start in bench.starts if start[1] == name]
        assert mean_rate(own) <= 200 * 1.1


def test_nineteen_in_a_row_are_forgiven() -> None:
    bench = Bench(["a"], lambda _address, tries: TIMEOUT if 10 < tries <= 29 else ANSWER)
    bench.measure(10)
    assert (len(bench.records[0].wall_ns), bench.records[0].dropped) == (50, False)


def test_addresses_are_interleaved_in_shuffled_blocks() -> None:
    bench = Bench(["a", "b", "c"], always(ANSWER))
    bench.measure(10)
    order = [address for _start, address in bench.starts]
    blocks = [order[at : at + 30] for at in range(0, 150, 30)]
    assert all(Counter(block) == {"a": 10, "b": 10, "c": 10} for block in blocks)
    assert len({tuple(block) for block in blocks}) == len(blocks)


def test_warmup_goes_round_the_addresses() -> None:
    bench = Bench(["a", "b", "c"], always(ANSWER))
    bench.campaign.warm_up(10)
    assert "".join(address for _start, address in bench.starts) == "abcabcabca"


def test_no_address_is_no_work() -> None:
    bench = Bench([], always(ANSWER))
    bench.campaign.warm_up(100)
    bench.measure(10)
    assert bench.starts == []


def test_dead_address_takes_no_more_of_the_warmup_than_its_three_tries() -> None:
    bench = Bench(["dead"], always(REFUSED))
    bench.campaign.warm_up(100)
    assert bench.clock.now_ns < 4 * 1.5 * NS_PER_S / 200


# --- the pace ---


def mean_rate(starts: list[tuple[int, str]]) -> float:
    return (len(starts) - 1) * NS_PER_S / (starts[-1][0] - starts[0][0])


@pytest.mark.parametrize(
    ("addresses", "caps", "expected"),
    [
        (1, {"max_rate_per_address": 200}, 200),
        (8, {"max_rate_per_address": 200}, 1_600),
        (30, {"max_rate_per_address": 200, "max_rate": 4_000}, 4_000),
        (30, {"max_rate": 500}, 500),
    ],
)
def test_caps_hold_on_average_and_are_used(addresses: int, caps: dict[str, int], expected: int) -> None:
    names = [f"a{n}" for n in range(addresses)]
    bench = Bench(names, always(Outcome(0, 100_000, 90, 0)), samples=3_000 // addresses, **caps)
    bench.measure(10)
    assert mean_rate(bench.starts) == pytest.approx(expected, rel=0.03)
    for name in names:
        own = [start for start in bench.starts if start[1] == name]
        assert mean_rate(own) <= caps.get("max_rate_per_address", 200) * 1.1


def test_address_of_two_endpoints_stays_within_its_cap() -> None:
    bench = Bench(["same", "same", "other"], always(ANSWER), samples=500)
    bench.measure(10)
    own = [start for start in bench.starts if start[1] == "same"]
    assert mean_rate(own) == pytest.approx(200, rel=0.05)


def test_slow_answers_are_not_followed_by_a_burst() -> None:
    # One handshake stalls for 100 ms: only CREDIT_NS of that may be made up for.
    bench = Bench(["a"], lambda _address, tries: TIMEOUT if tries == 20 else ANSWER, samples=40)
    bench.measure(10)
    stalled_ns = bench.starts[19][0] + TIMEOUT.wall_ns
    in_next_50_ms = [start for start, _address in bench.starts if stalled_ns < start < stalled_ns + 50_000_000]
    assert len(in_next_50_ms) <= (50_000_000 + CREDIT_NS) * 200 / NS_PER_S + 2


def test_dropped_address_does_not_quicken_the_others() -> None:
    # The block was laid out for 2 x 200 a second; after the death of one the other must still keep to 200.
    bench = Bench(["dead", "a"], lambda address, _try: REFUSED if address == "dead" else ANSWER, samples=100)
    bench.measure(100)
    own = [start for start in bench.starts if start[1] == "a"]
    assert mean_rate(own) <= 200 * 1.05


@given(st.integers(min_value=1, max_value=20_000), st.integers(min_value=0, max_value=2**32))
def test_gaps_are_random_around_their_mean(rate: int, seed: int) -> None:
    clock = Clock(step_ns=100)
    pacer = Pacer(clock, clock.sleep, random.Random(seed).random, lambda: None)
    pacer.set_rate(rate)
    starts_ns = [pacer.wait() for _handshake in range(200)]
    mean_gap_ns = (starts_ns[-1] - starts_ns[0]) / 199
    # 200 uniform gaps of relative width 1 have a mean with a relative deviation of 0.29 / sqrt(199) = 2 %.
    assert mean_gap_ns >= NS_PER_S / rate * 0.88 - CREDIT_NS / 199
    if rate < 1_000:
        assert len({round(after - before, -4) for before, after in zip(starts_ns, starts_ns[1:])}) > 20


def test_waiting_is_slept_but_for_the_last_stretch() -> None:
    bench = Bench(["a"], always(ANSWER), samples=500)
    bench.measure(10)
    whole_ns = bench.starts[-1][0]
    assert bench.clock.slept_ns / whole_ns > 0.9
    spun_ns = bench.clock.looks * bench.clock.step_ns
    assert spun_ns / 500 <= SPIN_NS


def test_touch_follows_every_sleep_and_nothing_else() -> None:
    paced = Bench(["a"], always(ANSWER))
    paced.measure(10)
    assert paced.touches == 49
    busy = Bench(["a"], always(ANSWER), max_rate=1_000_000, max_rate_per_address=1_000_000)
    busy.measure(10)
    assert busy.touches == 0
