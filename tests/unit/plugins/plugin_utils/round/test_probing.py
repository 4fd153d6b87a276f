# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a round asks of the probe: every option is one that the module has, and says what the search wants."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import quantile
from ansible_collections.lowlatency.ec2.plugins.modules.latency_probe import ARGUMENT_SPEC as MODULE_SPEC
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import ARGUMENT_SPEC, RoundOptions
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.probing import (
    hits_wanted,
    probe_options,
    short_probe_options,
    turn_s,
)
from hypothesis import given
from hypothesis import strategies as st
from support.rounds import address, champion, endpoint, probe
from support.stage import Stage, make_round

ROOT = Path(__file__).parents[5]
ENDPOINTS = [{"name": "fstream-mm", "host": "fstream-mm.binance.com", "port": 443, "addresses": ["198.19.3.1"]}]
#: What adaptive mode decides by, which is not for the person to set but follows from the search.
DECIDES = {
    "metric",
    "median_limit_us",
    "best_limit_us",
    "best_min_hits",
    "primary_endpoint",
    "champion_us",
    "champion_statistic",
}


def options(folder: Path, **changed: t.Any) -> RoundOptions:
    return make_round(folder, Stage(), **changed).options


def asked(folder: Path, seat: dict[str, t.Any] | None = None, **changed: t.Any) -> dict[str, t.Any]:
    held = options(folder, **changed)
    return probe_options(held, Criteria.from_dict(held.criteria), seat, ENDPOINTS, "/tmp/r.json")


def test_the_search_hands_on_every_option_that_the_module_has() -> None:
    given_on = set(ARGUMENT_SPEC["probe"]["options"])
    assert given_on | DECIDES | {"endpoints", "progress_path"} == set(MODULE_SPEC)
    assert not given_on & DECIDES
    for name in given_on:
        assert ARGUMENT_SPEC["probe"]["options"][name]["type"] == MODULE_SPEC[name]["type"]


def test_the_role_has_a_variable_for_each_of_them() -> None:
    defaults = yaml.safe_load((ROOT / "roles/search/defaults/main.yml").read_text(encoding="utf-8"))
    assert set(defaults["search_probe"]) == set(ARGUMENT_SPEC["probe"]["options"])
    for name, value in defaults["search_probe"].items():
        variable = name if name.startswith("probe_") else f"probe_{name}"
        assert value.startswith(f"{{{{ {variable} | default("), value


def test_what_is_not_given_is_left_to_the_module(tmp_path: Path) -> None:
    found = asked(tmp_path, probe={"samples": 500, "warmup": None, "cpu": None, "connect": "blocking"})
    assert found == {
        "samples": 500,
        "connect": "blocking",
        "metric": "wall",
        "median_limit_us": 1,
        "best_limit_us": 1,
        "best_min_hits": 1,
        "primary_endpoint": "fstream-mm",
        "champion_statistic": "best",
        "endpoints": ENDPOINTS,
        "progress_path": "/tmp/r.json",
    }


def test_a_champion_is_what_the_primary_addresses_have_to_beat(tmp_path: Path) -> None:
    found = asked(tmp_path, champion(142.5), metric="wire")
    assert (found["champion_us"], found["champion_statistic"], found["metric"]) == (142.5, "best", "wire")
    found = asked(tmp_path, champion(142.5, statistic="p0_1"), statistic="p0_1")
    assert (found["champion_us"], found["champion_statistic"]) == (142.9, "p0_1")


def test_a_limit_that_is_off_is_not_asked_for(tmp_path: Path) -> None:
    found = asked(tmp_path, criteria={"median_us": None, "best_us": None})
    assert "median_limit_us" not in found and "best_limit_us" not in found


@given(st.lists(st.integers(1, 100), min_size=1, max_size=3000), st.integers(0, 101))
def test_so_many_hits_are_sure_to_meet_the_limit_by_the_quantile(figures: list[int], limit_us: int) -> None:
    wanted = hits_wanted(Criteria(best_us=limit_us), "p0_1", len(figures))
    hits = sum(each <= limit_us for each in figures)
    if hits >= wanted:
        assert quantile(sorted(figures), 0.001) <= limit_us
    # No fewer would be sure, whatever the other samples are.
    assert wanted == 1 or quantile([0.0] * (wanted - 1) + [1e6] * (len(figures) - wanted + 1), 0.001) > 0


@pytest.mark.parametrize(("samples", "hits"), [(1, 1), (500, 2), (1001, 2), (10_000, 11)])
def test_hits_by_the_quantile(samples: int, hits: int) -> None:
    assert hits_wanted(Criteria(), "p0_1", samples) == hits
    assert hits_wanted(Criteria(best_min_hits=400), "p0_1", samples) == 400
    assert hits_wanted(Criteria(best_min_hits=3), "best", samples) == 3


def test_short_probes_are_always_in_full_and_like_the_search_s_own(tmp_path: Path) -> None:
    held = options(tmp_path, probe={"samples": 50, "max_rate_per_address": 20, "quiet_timeout_s": 600}, metric="wire")
    found = short_probe_options(held, ["198.19.3.1", "198.19.3.2"])
    assert found["endpoints"][0]["addresses"] == ["198.19.3.1", "198.19.3.2"]
    assert (found["probe_mode"], found["samples"], found["metric"]) == ("exhaustive", 50, "wire")
    assert found["max_rate_per_address"] == 20
    assert "quiet_timeout_s" not in found
    assert set(found) <= set(MODULE_SPEC)


@pytest.mark.parametrize(
    ("asked_of_probe", "median_us", "expected_s"),
    [
        # Two addresses at 200 a second each, 103 handshakes with each of them; what a turn needs beside them is 0.15 s.
        ({}, 140, 2 * 103 / 400),
        ({"max_rate": 50}, 140, 2 * 103 / 50),
        ({"samples": 20}, 140, 2 * 23 / 400),
        # A far venue: each handshake takes longer than the rate would let it.
        ({}, 5_000, 2 * 103 * (1.5 * 0.005 + 0.0001)),
    ],
)
def test_a_turn_is_as_long_as_rates_and_distance_make_it(
    tmp_path: Path, asked_of_probe: dict[str, int], median_us: int, expected_s: float
) -> None:
    held = options(tmp_path, probe={"samples": 500, **asked_of_probe})
    rows = [address(each, 120, median_us, 500) for each in ("198.19.3.1", "198.19.3.2")]
    far = address("198.19.3.9", 120, 90_000, 500)
    seen = probe([endpoint("fstream-mm", [*rows, far])], 500)
    found = turn_s(held, ["198.19.3.1", "198.19.3.2"], seen)
    assert found == pytest.approx(expected_s + 0.15)
