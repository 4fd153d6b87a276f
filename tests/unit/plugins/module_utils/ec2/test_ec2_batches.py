# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One refused id keeps no other from being taken."""

from __future__ import annotations

import math
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.batches import (
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_PERMITTED,
    Answers,
    ask_in_batches,
    batches,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st


def refused(code: str) -> Ec2Error:
    error = ClientError({"Error": {"Code": code, "Message": ""}}, "TerminateInstances")
    return Ec2Error(message="refused", exception=error)


class Api:
    """Refuses a request for the sake of its first refused id, and every request from a number on."""

    def __init__(self, refused: t.Mapping[str, str], enough_after: int | None = None, code: str = "Throttling") -> None:
        self.refused = refused
        self.enough_after = enough_after
        self.code = code
        self.asked: list[list[str]] = []
        self.taken: list[str] = []

    def ask(self, names: list[str]) -> dict[str, str]:
        self.asked.append(names)
        if self.enough_after is not None and len(self.asked) > self.enough_after:
            raise refused(self.code)
        for name in names:
            if name in self.refused:
                raise refused(self.refused[name])
        self.taken += names
        return dict.fromkeys(names, "shutting-down")


ids = st.lists(st.integers(0, 400).map("i-{}".format), unique=True, max_size=300)
codes = st.sampled_from([NOT_PERMITTED, NOT_FOUND])


@given(ids, st.dictionaries(st.integers(0, 400).map("i-{}".format), codes, max_size=8), st.integers(1, 100))
def test_all_but_the_refused_are_taken_once(names: list[str], refused: dict[str, str], size: int) -> None:
    api, answers = Api(refused), Answers()
    ask_in_batches(names, api.ask, size, answers)
    assert api.taken == [name for name in names if name not in refused]
    assert answers.states.keys() == set(api.taken)
    assert answers.refused == {name: refused[name] for name in names if name in refused}
    assert all(0 < len(some) <= size for some in api.asked)
    # Each refused id costs two requests a halving, beside the batches themselves.
    halvings = math.ceil(math.log2(size)) if size > 1 else 0
    assert len(api.asked) <= len(batches(names, size)) + 2 * halvings * len(answers.refused)


@given(ids, st.integers(0, 5), st.integers(1, 50))
def test_when_ec2_has_had_enough_the_rest_is_told_and_not_asked(names: list[str], after: int, size: int) -> None:
    api, answers = Api({}, enough_after=after), Answers()
    ask_in_batches(names, api.ask, size, answers)
    assert answers.states.keys() | answers.refused.keys() == set(names)
    assert answers.states.keys() == set(names[: after * size])
    assert len(api.asked) <= after + 1


def test_any_other_code_is_raised_and_what_was_taken_is_known() -> None:
    api, answers = Api({}, enough_after=1, code="InvalidParameterValue"), Answers()
    with pytest.raises(Ec2Error):
        ask_in_batches(["i-1", "i-2", "i-3"], api.ask, 2, answers)
    assert set(answers.states) == {"i-1", "i-2"}
    assert answers.refused == {}


def test_what_a_policy_denies_for_one_is_not_denied_for_the_others() -> None:
    names = [f"i-{number}" for number in range(100)]
    api, answers = Api({"i-42": NOT_ALLOWED}), Answers()
    ask_in_batches(names, api.ask, 100, answers)
    assert answers.refused == {"i-42": NOT_ALLOWED}
    assert len(answers.states) == 99


def test_what_a_policy_denies_for_all_is_found_out_soon() -> None:
    names = [f"i-{number}" for number in range(100)]
    api, answers = Api(dict.fromkeys(names, NOT_ALLOWED)), Answers()
    with pytest.raises(Ec2Error):
        ask_in_batches(names, api.ask, 100, answers)
    assert len(api.asked) <= 12
    with pytest.raises(Ec2Error):
        ask_in_batches(["i-1"], api.ask, 100, Answers())
