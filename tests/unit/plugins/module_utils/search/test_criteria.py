# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Criteria and limits: defaults, and one clear line for what cannot be used."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import (
    Criteria,
    CriteriaError,
    Limits,
    LimitsError,
    number,
)
from support.rounds import limits


def test_a_missing_key_takes_its_default() -> None:
    assert Criteria.from_dict({}) == Criteria(median_us=122, best_us=102, best_min_hits=1)
    assert Criteria.from_dict(None) == Criteria()
    assert Criteria.from_dict({"best_us": 90}) == Criteria(median_us=122, best_us=90)


def test_null_switches_a_limit_off() -> None:
    assert Criteria.from_dict({"median_us": None, "best_us": None}) == Criteria(median_us=None, best_us=None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"median_us": -1}, "search_criteria.median_us: -1 is below 0"),
        ({"best_us": "102"}, "search_criteria.best_us: '102' is not a number"),
        ({"best_us": True}, "search_criteria.best_us: True is not a number"),
        ({"median_us": float("nan")}, "search_criteria.median_us: nan is not a number"),
        ({"median_us": float("inf")}, "search_criteria.median_us: inf is not a number"),
        ({"best_min_hits": 0}, "search_criteria.best_min_hits: 0 is below 1"),
        ({"best_min_hits": 1.5}, "search_criteria.best_min_hits: 1.5 is not a whole number"),
        ({"best_min_hits": None}, "search_criteria.best_min_hits: None is not a whole number"),
        ({"mediun_us": 5}, "search_criteria.mediun_us: 5 is unknown, known are median_us, best_us, best_min_hits"),
        ([122], "search_criteria: [122] is not a dictionary"),
    ],
)
def test_criteria_that_cannot_be_used(given: t.Any, told: str) -> None:
    with pytest.raises(CriteriaError) as raised:
        Criteria.from_dict(given)
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_limits_leave_unknown_keys_to_others() -> None:
    assert Limits.from_dict(limits(note="x")).max_rounds == 8


def test_limits_from_before_there_was_a_choice_are_those_of_the_plain_rule() -> None:
    old = {key: value for key, value in limits().items() if key not in ("statistic", "connect", "confirm")}
    held = Limits.from_dict(old)
    assert (held.statistic, held.connect, held.confirm) == ("best", "blocking", False)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"primary_endpoint": ""}, "limits.primary_endpoint: '' names no endpoint"),
        ({"metric": "cpu"}, "limits.metric: 'cpu' is none of wall, wire"),
        ({"statistic": "p99"}, "limits.statistic: 'p99' is none of best, p0_1"),
        ({"connect": "poll"}, "limits.connect: 'poll' is none of blocking, spin"),
        ({"confirm": "yes"}, "limits.confirm: 'yes' is neither true nor false"),
        ({"samples": 0}, "limits.samples: 0 is not a whole number from 1 on"),
        ({"max_rounds": True}, "limits.max_rounds: True is not a whole number"),
        ({"failures_in_row": -1}, "limits.failures_in_row: -1 is not a whole number from 0 on"),
        ({"max_hours": -0.5}, "limits.max_hours: -0.5 is not a number from 0 on"),
        ({"spent_usd": float("nan")}, "limits.spent_usd: nan is not a number from 0 on"),
    ],
)
def test_limits_that_cannot_be_used(changed: dict[str, t.Any], told: str) -> None:
    with pytest.raises(LimitsError) as raised:
        Limits.from_dict(limits(**changed))
    assert str(raised.value).startswith(told)


def test_limits_must_be_a_dictionary() -> None:
    with pytest.raises(LimitsError, match="is not a dictionary"):
        Limits.from_dict(t.cast(t.Any, "wall"))


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("-inf"), [1]])
def test_what_is_no_number(value: object) -> None:
    assert number(value) is None
