# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe's records as the data that a round keeps."""

from __future__ import annotations

import errno
import json

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import Outcome
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.handshake import ERROR_KINDS, AddressRecord
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import Asked, Endpoint
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.resolve import Resolution
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.result import (
    address_result,
    endings,
    endpoint_result,
    handshakes_tried,
    limit_out_of_reach,
    lowest,
    progress,
)
from hypothesis import given
from hypothesis import strategies as st

ENDPOINT = Endpoint("fstream-mm", "fstream-mm.binance.com", 443)
NO_ERRORS = dict.fromkeys(ERROR_KINDS, 0)

outcomes = st.lists(
    st.builds(
        Outcome,
        st.sampled_from([0, 0, 0, errno.EINPROGRESS, errno.ECONNREFUSED, errno.EADDRNOTAVAIL]),
        st.integers(1, 10**9),
        st.integers(1, 10**6),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(1, 65_535),
    ),
    max_size=60,
)


def record(address: str, *times: tuple[int, int], endpoint: str = "fstream-mm", samples: int = 3) -> AddressRecord:
    """A record with these (wall_ns, wire_us)."""
    made = AddressRecord(endpoint, address, 443, samples)
    for wall_ns, wire_us in times:
        made.note(Outcome(0, wall_ns, wire_us, 0), measured=True)
    return made


def dead(address: str) -> AddressRecord:
    made = AddressRecord("fstream-mm", address, 443, 3)
    for _time in range(3):
        made.note(Outcome(errno.EINPROGRESS, 100_000_000, 0, 0), measured=False)
    return made


def test_address_with_samples() -> None:
    result = address_result(record("192.0.2.1", (98_100, 81), (118_200, 97), (160_300, 99)))
    assert result["samples"] == 3
    assert result["errors"] == NO_ERRORS
    assert result["wall"] == {
        "best_us": 98.1,
        "p0_1_us": 98.14,
        "median_us": 118.2,
        "median_low_us": 98.1,
        "median_high_us": 160.3,
        "p99_us": 159.458,
        "p99_9_us": 160.216,
    }
    assert (result["wire"]["best_us"], result["wire"]["median_us"]) == (81, 97)
    assert result["histogram"]["wall"] == {"edge_us": [98, 118, 160], "count": [1, 1, 1]}
    assert result["histogram"]["wire"] == {"edge_us": [80, 96, 98], "count": [1, 1, 1]}


def test_address_without_samples_is_null_with_counts() -> None:
    result = address_result(dead("192.0.2.1"))
    assert (result["wall"], result["wire"]) == (None, None)
    assert result["histogram"] == {"wall": {"edge_us": [], "count": []}, "wire": {"edge_us": [], "count": []}}
    assert (result["samples"], result["errors"], result["dropped"]) == (0, {**NO_ERRORS, "timeout": 3}, True)


def test_endpoint_names_its_best_addresses() -> None:
    result = endpoint_result(
        ENDPOINT,
        Resolution(("192.0.2.1", "192.0.2.2", "192.0.2.3"), None),
        (),
        [
            dead("192.0.2.1"),
            record("192.0.2.2", (110_000, 95), (120_000, 100), (130_000, 101)),
            record("192.0.2.3", (98_000, 81), (125_000, 104), (140_000, 105)),
        ],
    )
    assert (result["name"], result["host"], result["port"]) == ("fstream-mm", "fstream-mm.binance.com", 443)
    assert result["best_median"] == {"address": "192.0.2.2", "wall_us": 120.0, "wire_us": 100, "samples": 3}
    assert result["best"] == {"address": "192.0.2.3", "wall_us": 98.0, "wire_us": 81, "samples": 3}
    assert result["resolve_error"] is None


def test_endpoint_that_nobody_answers_for_has_no_best() -> None:
    result = endpoint_result(ENDPOINT, Resolution(("192.0.2.1",), None), (), [dead("192.0.2.1")])
    assert (result["best_median"], result["best"]) == (None, None)


def test_endpoint_that_does_not_resolve_says_why() -> None:
    result = endpoint_result(ENDPOINT, Resolution((), ("EAI_NONAME", "Name or service not known")), (), [])
    assert result["resolve_error"] == {"code": "EAI_NONAME", "message": "Name or service not known"}
    assert (result["addresses"], result["best_median"], result["best"]) == ([], None, None)


def ended(record: AddressRecord, how: str) -> AddressRecord:
    record.ended = {"how": how, "by": "median", "samples": len(record.wall_ns), "log_likelihood_ratio": -7.0}
    return record


def test_full_addresses_are_not_compared_with_others() -> None:
    full = ended(record("192.0.2.1", (110_000, 95), (120_000, 96), (130_000, 97)), "full")
    lucky = ended(record("192.0.2.2", (90_000, 80)), "above")
    result = [address_result(one) for one in (full, lucky)]
    for figure in ("best_us", "median_us"):
        winner = lowest(result, figure)
        assert winner is not None
        assert (winner["address"], winner["samples"]) == ("192.0.2.1", 3)
    alone = lowest(result[1:], "best_us")
    assert alone == {"address": "192.0.2.2", "wall_us": 90.0, "wire_us": 80, "samples": 1}


def test_endings_are_counted_in_order() -> None:
    records = [ended(record("a"), how) for how in ("above", "full", "dropped", "above")]
    assert endings([*records, record("open")]) == "1 full, 2 above, 1 dropped"


def test_a_limit_that_nothing_reached_is_told_by_its_metric() -> None:
    records = [record("a", (120_000, 100), (98_100, 91)), record("b")]
    assert limit_out_of_reach(records, Asked(median_limit_us=90.5)) == (
        "No handshake reached a limit: the lowest took 98.1 us, the limit is 90.5 us."
    )
    assert limit_out_of_reach(records, Asked(median_limit_us=50.0, best_limit_us=98.1)) == ""
    assert limit_out_of_reach(records, Asked(best_limit_us=95.0, metric="wire")) == ""
    assert limit_out_of_reach(records, Asked(best_limit_us=90.0, metric="wire")).startswith("No handshake")
    assert limit_out_of_reach(records, Asked()) == limit_out_of_reach(records[1:], Asked(best_limit_us=1.0)) == ""


def test_progress_expects_full_samples_of_as_many_as_may_get_them() -> None:
    records = [
        record("a", (1, 1), samples=100),
        record("b", samples=100),
        record("c", samples=100),
        ended(record("d", (1, 1), (1, 1), samples=100), "above"),
    ]
    exhaustive, adaptive = (progress("measure", records, 1.0, most_full) for most_full in (None, 1))
    assert (exhaustive["handshakes_done"], exhaustive["handshakes_total"]) == (3, 302)
    assert (adaptive["handshakes_done"], adaptive["handshakes_total"]) == (3, 102)
    assert adaptive["addresses_decided"] == 1


def test_a_tie_goes_to_the_lower_wire_time_then_to_the_first() -> None:
    same = [record("192.0.2.1", (100_000, 90)), record("192.0.2.2", (100_000, 80)), record("192.0.2.3", (100_000, 80))]
    winner = lowest([address_result(one) for one in same], "median_us")
    assert winner is not None
    assert winner["address"] == "192.0.2.2"


@given(st.lists(outcomes, max_size=4))
def test_any_outcome_gives_valid_json_that_adds_up(histories: list[list[Outcome]]) -> None:
    records = [AddressRecord("fstream-mm", f"192.0.2.{n}", 443, 50) for n in range(len(histories))]
    for one, history in zip(records, histories):
        for outcome in history:
            one.note(outcome, measured=True)
    result = endpoint_result(ENDPOINT, Resolution((), None), (), records)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert handshakes_tried(records) == sum(len(history) for history in histories)
    for address in result["addresses"]:
        assert (address["wall"] is None) == (address["wire"] is None) == (address["samples"] == 0)
        for side in ("wall", "wire"):
            assert sum(address["histogram"][side]["count"]) == address["samples"]
        assert sum(address["other_codes"].values()) == address["errors"]["other"]


def test_progress_counts_samples_and_shows_the_best_of_each_endpoint() -> None:
    records = [
        record("192.0.2.1", (120_000, 100), endpoint="a"),
        record("192.0.2.2", (98_100, 90), (99_000, 91), endpoint="a"),
        record("192.0.2.3", endpoint="b"),
        dead("192.0.2.4"),
    ]
    assert progress("measure", records, 1.23456) == {
        "stage": "measure",
        "handshakes_done": 3,
        "handshakes_total": 9,
        "addresses": 3,
        "addresses_dropped": 1,
        "addresses_decided": 0,
        "elapsed_s": 1.235,
        "best": [{"name": "a", "address": "192.0.2.2", "wall_us": 98.1, "samples": 2}],
    }


@pytest.mark.parametrize(
    ("metric", "limit_us", "count"), [("wall", 118.2, 2), ("wall", 118.199, 1), ("wire", 97, 2), ("wall", 12, 0)]
)
def test_hits_are_counted_to_the_nanosecond(metric: str, limit_us: float, count: int) -> None:
    seen = record("192.0.2.1", (98_100, 81), (118_200, 97), (160_300, 99))
    found = address_result(seen, Asked(metric=metric, best_limit_us=limit_us))["hits"]
    assert found == {"metric": metric, "limit_us": limit_us, "count": count}


def test_without_a_limit_nothing_is_counted() -> None:
    assert address_result(record("192.0.2.1", (98_100, 81)))["hits"] is None
