# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of an interrupted round: nobody who was to be kept is ended, and the better champion sits."""

from __future__ import annotations

import typing as t

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import champion_figure_us
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.interruption import (
    FINISH,
    KEEP,
    UNDO,
    fate_of,
    promoted,
    wins,
)
from hypothesis import given
from hypothesis import strategies as st
from support.rounds import champion

FIGURES = st.floats(50, 500, allow_nan=False)


def promotion(best_us: float, kind: str = "champion", against: str | None = None) -> dict[str, t.Any]:
    record = {**champion(best_us, "i-new"), "kind": kind, "search_id": "s1"}
    return {
        "record": record,
        "is_champion": kind == "champion",
        "qualified": kind == "qualified",
        "against": against,
        "tags": {},
        "protectable": True,
        "address": "198.18.4.1",
    }


@st.composite
def documents(draw: st.DrawFn) -> State:
    sitting = champion(draw(FIGURES), "i-sits") if draw(st.booleans()) else None
    anchor = champion(draw(FIGURES), "i-anchor") if draw(st.booleans()) else None
    return State(generation=3, search_id="s1", champion=sitting, anchor=anchor)


PROMOTIONS = st.builds(
    promotion,
    FIGURES,
    st.sampled_from(["champion", "anchor", "qualified"]),
    st.sampled_from([None, "i-sits", "i-before"]),
)


@given(state=documents(), given=PROMOTIONS)
def test_what_was_judged_to_be_kept_is_ended_only_for_a_better_champion(state: State, given: dict[str, t.Any]) -> None:
    fate = fate_of("i-new", "candidate", given, state)
    assert fate.action in (FINISH, UNDO)
    if fate.action == UNDO:
        assert given["record"]["kind"] == "champion"
        assert state.champion is not None
        assert given["against"] != state.champion["instance_id"]
        theirs_us, ours_us = champion_figure_us(state.champion), champion_figure_us(given["record"])
        assert theirs_us is not None and ours_us is not None
        assert theirs_us <= ours_us


@given(state=documents(), given=PROMOTIONS)
def test_a_finished_promotion_drops_nobody_but_the_champion_that_it_replaces(
    state: State, given: dict[str, t.Any]
) -> None:
    if fate_of("i-new", "candidate", given, state).action != FINISH:
        return
    after = promoted(state, given)
    assert "i-new" in after.survivors()
    dropped = state.survivors() - after.survivors()
    assert dropped <= {each["instance_id"] for each in after.retiring}
    assert dropped <= {"i-sits"} if wins(given, state) else dropped == set()
    # Done twice it is as done once.
    assert promoted(after, given) == after


@given(state=documents(), given=st.none() | PROMOTIONS)
def test_who_the_document_names_is_kept(state: State, given: dict[str, t.Any] | None) -> None:
    for each in state.survivors():
        assert fate_of(each, "candidate", given, state).action == KEEP


@given(state=documents(), role=st.sampled_from(["champion", "anchor", "qualified"]))
def test_who_is_tagged_as_a_survivor_is_kept(state: State, role: str) -> None:
    assert fate_of("i-tagged", role, None, state).action == KEEP


@given(state=documents(), role=st.sampled_from([None, "candidate"]))
def test_a_candidate_without_a_verdict_is_undone(state: State, role: str | None) -> None:
    assert fate_of("i-new", role, None, state).action == UNDO


def test_without_a_document_a_promotion_is_left_as_it_is() -> None:
    assert fate_of("i-new", "candidate", promotion(100.0), None).action == KEEP
    assert fate_of("i-new", "candidate", None, None).action == UNDO


def test_a_champion_that_is_measured_in_another_way_keeps_its_seat() -> None:
    state = State(champion={**champion(400.0, "i-sits"), "metric": "wire"})
    assert not wins(promotion(100.0, against="i-before"), state)
