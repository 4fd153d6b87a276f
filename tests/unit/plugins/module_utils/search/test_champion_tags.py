# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A survivor's entry in the tags of its instance and back, within AWS's limits, and documents made from tags."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import (
    LONGEST_KEY,
    LONGEST_VALUE,
    MOST_TAGS,
    OWN_TAGS,
    TAG_CHAMPION,
    TAG_DOCUMENT,
    TagsError,
    document_of,
    document_tags,
    entry_of,
    is_of_document,
    membership_tags,
    rebuild,
    tags_of,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import ChampionMismatch
from hypothesis import given
from hypothesis import strategies as st
from support.rounds import champion

SEARCH = "tokyo"
DOCUMENT = "file://controller/srv/reports/champion_state.json"


def full_entry(best_us: float = 120.0, instance_id: str = "i-1", **more: t.Any) -> dict[str, t.Any]:
    return {**champion(best_us, instance_id), "kind": "champion", "search_id": SEARCH, **more}


def instance(entry: t.Mapping[str, t.Any], *, state: str = "running", **tags: str) -> dict[str, t.Any]:
    """An instance as the modules show it, with the tags of a promotion."""
    told = {f"lowlatency:{key.replace('_', '-')}": value for key, value in tags.items()}
    about = {key: entry[key] for key in ("instance_id", "instance_type", "placement_group")}
    return {**about, "state": state, "tags": {**tags_of(entry), **document_tags(DOCUMENT), **told}}


def crowned(entry: t.Mapping[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return instance(entry, champion="true", **more)


TEXTS = st.text(max_size=300)
FIGURES = st.floats(0, 1e9, allow_nan=False) | st.integers(0, 10**9)
FOUND = st.none() | st.fixed_dictionaries(
    {
        "address": TEXTS,
        "wall_us": st.none() | FIGURES,
        "wire_us": st.none() | FIGURES,
        "samples": st.none() | st.integers(0, 10**6),
    }
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, t.Any]:
    median, best = draw(FOUND), draw(FOUND)
    return {
        "endpoint": draw(st.none() | TEXTS),
        "host": draw(st.none() | TEXTS),
        "port": draw(st.none() | st.integers(1, 65535)),
        "pin": median["address"] if median else None,
        "best_median": median,
        "best": best,
    }


@st.composite
def entries(draw: st.DrawFn) -> dict[str, t.Any]:
    made = {**full_entry(), "best_us": draw(FIGURES)}
    for key in ("address", "endpoint", "metric", "statistic", "connect", "probe_mode", "since"):
        made[key] = draw(st.none() | TEXTS)
    made["p0_1_us"] = draw(st.none() | FIGURES)
    made["samples"] = draw(st.none() | st.integers(1, 10**9))
    made["best_addresses"] = draw(st.lists(rows(), max_size=4))
    if draw(st.booleans()):
        made["host_key"] = draw(TEXTS)
    return made


@given(entry=entries())
def test_an_entry_comes_back_from_its_tags(entry: dict[str, t.Any]) -> None:
    tags = tags_of(entry, room=10**6)
    assert entry_of({**entry, "tags": tags}) == entry


@given(entry=entries(), identity=TEXTS, room=st.integers(40, MOST_TAGS))
def test_tags_keep_the_limits_of_aws(entry: dict[str, t.Any], identity: str, room: int) -> None:
    tags = tags_of(entry, room)
    without = tags_of({**entry, "best_addresses": []})
    assert len(tags) <= max(room, len(without))
    for key, value in {**tags, **document_tags(identity)}.items():
        assert re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]+", key) and len(key) <= LONGEST_KEY
        assert 0 < len(value) <= LONGEST_VALUE
        assert re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]*", value) and value.strip() == value
        assert not value.lower().startswith("aws:")
    kept = entry_of({**entry, "tags": tags})["best_addresses"]
    assert kept == entry["best_addresses"][: len(kept)]


def test_an_ordinary_entry_is_a_dozen_tags_that_a_person_can_read() -> None:
    tags = tags_of(full_entry())
    assert tags["lowlatency:best-us"] == "120.0"
    assert tags["lowlatency:since"] == "2025-07-22T04:00:00+00:00"
    assert tags["lowlatency:endpoint"] == "fstream-mm"
    assert tags["lowlatency:addresses"].startswith("fapi-mm=fapi-mm.binance.com=443=198.19.1.1=")
    assert len([key for key in tags if "addresses" not in key]) <= 14 < OWN_TAGS
    assert len(tags) < 20


@given(identity=TEXTS)
def test_a_document_is_known_by_its_tag(identity: str) -> None:
    tags = document_tags(identity)
    assert document_of(tags) == identity
    assert is_of_document(tags, identity) and is_of_document({}, identity)
    assert not is_of_document(tags, f"{identity}2")
    assert document_of({}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("best-us", "fast"),
        ("best-us", "nan"),
        ("samples", "1.5"),
        ("endpoint", "@ff@fe"),
        ("addresses", "a=b"),
        ("addresses", "a=b=x=@n=@n=@n=@n=@n=@n=@n=@n"),
        ("addresses", "a=b=1=1.1.1.1=x=@n=@n=@n=@n=@n=@n"),
    ],
)
def test_tags_that_somebody_edited_are_told(key: str, value: str) -> None:
    broken = crowned(full_entry(), **{key.replace("-", "_"): value})
    with pytest.raises(TagsError, match=f"lowlatency:{key}"):
        entry_of(broken)
    made = rebuild([broken], SEARCH)
    assert made.state == State(search_id=SEARCH)
    assert len(made.notes) == 1 and made.notes[0].startswith("i-1 is left out: its tag lowlatency:")


# -- documents from tags ----------------------------------------------------------------------------------


def test_a_whole_document_comes_back() -> None:
    entries_ = {
        "champion": full_entry(120, "i-1"),
        "anchor": full_entry(140, "i-2", kind="anchor", since="2025-07-22T01:00:00+00:00"),
        "second": full_entry(150, "i-3", kind="anchor", since="2025-07-22T02:00:00+00:00"),
        "qualified": full_entry(160, "i-4", kind="qualified", since="2025-07-22T03:00:00+00:00"),
    }
    state = State(search_id=SEARCH).with_anchor(entries_["anchor"]).with_anchor(entries_["second"])
    state = state.with_qualified(entries_["qualified"]).with_champion(entries_["champion"])
    tagged = [crowned(entries_["champion"])]
    tagged += [instance(entries_[name]) for name in ("qualified", "second", "anchor")]
    assert rebuild(tagged, SEARCH).state == state
    assert rebuild(tagged, SEARCH, state).state == state


def test_one_that_is_champion_and_qualified_gets_both_places() -> None:
    entry = full_entry()
    tags = membership_tags(champion=True, qualified=True)
    both = {**instance(entry), "tags": {**instance(entry)["tags"], **tags}}
    state = rebuild([both], SEARCH).state
    assert (state.champion, state.qualified) == (entry, (entry,))


@pytest.mark.parametrize("best_us", [110.0, 130.0])
def test_of_two_tagged_champions_the_better_one_has_the_seat_and_the_other_retires(best_us: float) -> None:
    old, new = full_entry(120.0, "i-1"), full_entry(best_us, "i-2", since="2025-07-23T00:00:00+00:00")
    better, worse = sorted((old, new), key=lambda entry: entry["best_us"])
    for tagged in ([crowned(old), crowned(new)], [crowned(new), crowned(old)]):
        state = rebuild(tagged, SEARCH).state
        assert (state.champion, state.retiring) == (better, (worse,))
    # And so if the document knows one of them already.
    state = rebuild([crowned(old), crowned(new)], SEARCH, State(champion=old)).state
    assert (state.champion, state.retiring) == (better, (worse,))


def test_of_equal_champions_the_older_one_stays() -> None:
    old, new = full_entry(120.0, "i-2"), full_entry(120.0, "i-1", since="2025-07-23T00:00:00+00:00")
    assert rebuild([crowned(new), crowned(old)], SEARCH).state.champion == old


def test_a_worse_champion_that_is_an_anchor_does_not_retire() -> None:
    old, new = full_entry(130.0, "i-1", kind="anchor"), full_entry(110.0, "i-2")
    state = rebuild([crowned(old), crowned(new)], SEARCH).state
    assert (state.champion, state.anchor, state.retiring) == (new, old, ())


def test_champions_of_different_measures_are_not_compared() -> None:
    with pytest.raises(ChampionMismatch):
        rebuild([crowned(full_entry(120, "i-1")), crowned(full_entry(90, "i-2", metric="wire"))], SEARCH)


@pytest.mark.parametrize(
    "other",
    [
        {"state": "terminated"},
        {"state": "shutting-down"},
        {"role": "candidate"},
        {"role": "demoted"},
        {"search_id": "another"},
    ],
)
def test_what_is_no_survivor_of_the_search_is_left_out(other: dict[str, str]) -> None:
    assert rebuild([crowned(full_entry(), **other)], SEARCH).state == State(search_id=SEARCH)


def test_what_the_document_says_of_an_instance_is_not_changed() -> None:
    entry = {**full_entry(120.0, "i-1"), "more": "than tags hold"}
    retiring = full_entry(90.0, "i-2")
    state = State(champion=entry, retiring=(retiring,), search_id="earlier", generation=7)
    assert rebuild([crowned({**entry, "best_us": 1.0}), crowned(retiring)], SEARCH, state).state == state


def test_a_champion_without_figures_is_told_and_stays_where_it_is() -> None:
    old = crowned(full_entry())
    kept = ("lowlatency:role", "lowlatency:search-id", TAG_CHAMPION, TAG_DOCUMENT)
    bare = {**old, "tags": {key: value for key, value in old["tags"].items() if key in kept}}
    made = rebuild([bare], SEARCH)
    assert made.state == State(search_id=SEARCH)
    assert "i-1 is tagged as champion and is not taken for it: its champion has no best_us" in made.notes[0]
    known = State(champion=full_entry())
    assert rebuild([bare], SEARCH, known) == (rebuild([], SEARCH, known))
