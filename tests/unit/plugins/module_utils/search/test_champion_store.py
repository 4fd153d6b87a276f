# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The champion's document: compare-and-swap, races between processes, crashes, foreign files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    MAX_ATTEMPTS,
    FileChampionStore,
    GenerationConflict,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
    backoff_s,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import ChampionMismatch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.rounds import champion

PROCESSES, INCREMENTS = 8, 25


@pytest.fixture
def store(tmp_path: Path) -> FileChampionStore:
    return FileChampionStore(tmp_path / "reports" / "champion_state.json")


def test_a_missing_file_is_an_empty_document_of_generation_0(store: FileChampionStore) -> None:
    assert store.read() == State()
    assert not os.path.exists(store.path)


def test_the_document_is_as_the_contract_says(store: FileChampionStore) -> None:
    written = store.swap(0, State(search_id="s1", champion=champion(120, "i-1")))
    assert written.generation == 1 and written == store.read()
    with open(store.path, encoding="utf-8") as file:
        document = json.load(file)
    assert set(document) == {"schema_version", "generation", "search_id", "champion", "anchor", "qualified", "retiring"}
    assert (document["schema_version"], document["generation"], document["search_id"]) == (1, 1, "s1")
    assert (document["anchor"], document["qualified"], document["retiring"]) == (None, [], [])
    assert sorted(os.listdir(os.path.dirname(store.path))) == ["champion_state.json", "champion_state.json.lock"]


def test_a_swap_of_another_generation_is_refused(store: FileChampionStore) -> None:
    store.swap(0, State(search_id="first"))
    with pytest.raises(GenerationConflict, match="is at generation 1, not 0"):
        store.swap(0, State(search_id="second"))
    assert store.read().search_id == "first"


def test_a_champion_of_another_measure_is_refused(store: FileChampionStore) -> None:
    store.swap(0, State(champion=champion(120)))
    with pytest.raises(ChampionMismatch, match="wire time"):
        store.swap(1, State(champion=champion(90, metric="wire")))
    assert store.read().generation == 1


def test_a_champion_without_a_figure_is_never_written(store: FileChampionStore) -> None:
    with pytest.raises(ValueError, match="its champion has no best_us"):
        store.swap(0, State(champion=champion(best_us=120) | {"best_us": None}))
    assert not os.path.exists(store.path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"statistic": "p99"}, "its champion's statistic is 'p99', none of best, p0_1"),
        ({"statistic": "p0_1", "p0_1_us": None}, "its champion's p0_1_us is None, not a number of microseconds"),
        ({"best_us": "low"}, "its champion's best_us is 'low', not a number of microseconds"),
    ],
)
def test_a_champion_that_nobody_could_be_compared_with_is_never_written(
    store: FileChampionStore, changed: dict[str, t.Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        store.swap(0, State(champion={**champion(120), **changed}))
    assert not os.path.exists(store.path)


def test_a_document_from_before_there_was_a_statistic_is_read_and_goes_on_as_best(store: FileChampionStore) -> None:
    old = champion(120, "i-1")
    for key in ("statistic", "connect", "probe_mode", "p0_1_us"):
        del old[key]
    store.swap(0, State(champion=old))
    assert store.read().champion == old
    assert store.swap(1, State(champion=champion(110, "i-2"))).generation == 2
    with pytest.raises(ChampionMismatch, match=r"\(p0_1, blocking, exhaustive\)"):
        store.swap(2, State(champion=champion(100, statistic="p0_1")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[]", "it is not a JSON object"),
        ("{}", "its schema_version is None, this collection reads 1"),
        ('{"schema_version": 0, "generation": 1}', "its schema_version is 0"),
        ('{"schema_version": "2", "generation": 1}', "its schema_version is '2'"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"schema_version": 1}', "its generation is None"),
        ('{"schema_version": 1, "generation": -1}', "its generation is -1"),
        ('{"schema_version": 1, "generation": 1, "champion": {}}', "its champion names no instance_id"),
        ('{"schema_version": 1, "generation": 1, "champion": {"instance_id": "i-1"}}', "its champion has no"),
        ('{"schema_version": 1, "generation": 1, "qualified": {"a": 1}}', "its qualified is not a list"),
        ('{"schema_version": 1, "generation": 1, "retiring": [{}]}', "its retiring names no instance_id"),
        ('{"schema_version": 1, "generation": NaN}', "NaN is no JSON number"),
    ],
)
def test_what_is_no_such_document_is_left_as_it_is(store: FileChampionStore, text: str, told: str) -> None:
    os.makedirs(os.path.dirname(store.path))
    Path(store.path).write_text(text, encoding="utf-8")
    for attempt in (store.read, lambda: store.swap(0, State()), lambda: store.update(lambda state: State())):
        with pytest.raises(StoreUnreadable) as raised:
            attempt()
        assert told in str(raised.value) and store.path in str(raised.value)
    assert Path(store.path).read_text(encoding="utf-8") == text


def test_a_document_of_a_later_release_is_left_as_it_is_and_never_rebuilt(store: FileChampionStore) -> None:
    os.makedirs(os.path.dirname(store.path))
    text = '{"schema_version": 2, "generation": 1}'
    Path(store.path).write_text(text, encoding="utf-8")
    attempts: list[t.Callable[[], t.Any]] = [
        store.read,
        lambda: store.swap(1, State()),
        lambda: store.update(lambda state: State()),
        lambda: store.replace_unreadable(State()),
    ]
    for attempt in attempts:
        with pytest.raises(StoreTooNew, match=r"its schema_version is 2.*upgrade lowlatency\.ec2"):
            attempt()
    assert Path(store.path).read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text_are_left_as_they_are(store: FileChampionStore) -> None:
    os.makedirs(os.path.dirname(store.path))
    Path(store.path).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreUnreadable):
        store.read()


def test_a_directory_in_the_way_is_told(store: FileChampionStore) -> None:
    os.makedirs(store.path)
    with pytest.raises(StoreError, match="cannot be read: Is a directory") as raised:
        store.read()
    assert not isinstance(raised.value, StoreUnreadable), "there is nothing to put aside"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be"):
        FileChampionStore(tmp_path / "file" / "champion_state.json").swap(0, State())


def test_a_link_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real.json")
    FileChampionStore(link).swap(0, State(search_id="s"))
    assert link.is_symlink() and (tmp_path / "real.json").is_file()


class Orphaned(Exception):
    """What a guard raises."""


def test_a_guard_that_raises_leaves_the_old_document(store: FileChampionStore) -> None:
    store.swap(0, State(search_id="old"))

    def guard() -> None:
        raise Orphaned

    with pytest.raises(Orphaned):
        store.swap(1, State(search_id="new"), guard=guard)
    assert store.read() == State(generation=1, search_id="old")
    assert store.swap(1, State(search_id="newer")).generation == 2


def test_update_tries_again_after_another_writer(store: FileChampionStore) -> None:
    seen: list[int] = []

    def change(state: State) -> State:
        seen.append(state.generation)
        if state.generation == 0:
            store.swap(0, State(search_id="another writer"))
        return State(search_id=f"after {state.search_id}")

    assert store.update(change).search_id == "after another writer"
    assert seen == [0, 1]


def test_update_without_a_change_writes_nothing(store: FileChampionStore) -> None:
    assert store.update(lambda state: state) == State()
    assert not os.path.exists(store.path)


def test_update_gives_up_in_the_end(tmp_path: Path) -> None:
    paused_s: list[float] = []
    store = FileChampionStore(tmp_path / "champion_state.json", pause=paused_s.append)

    def change(state: State) -> State:
        store.swap(state.generation, State(search_id="always first"))
        return State(search_id="never")

    with pytest.raises(GenerationConflict, match="50 times in a row"):
        store.update(change)
    assert store.read().generation == MAX_ATTEMPTS == 50
    assert len(paused_s) == MAX_ATTEMPTS
    assert all(0.0 <= each_s <= backoff_s(attempt) for attempt, each_s in enumerate(paused_s))
    # At random, so that writers who met once do not meet again.
    assert len(set(paused_s)) > MAX_ATTEMPTS / 2


CHILD = """
import json, os, signal, sys
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import FileChampionStore
store = FileChampionStore(sys.argv[2])
if sys.argv[1] == "count":
    for _ in range(int(sys.argv[3])):
        def add(state):
            return State(search_id=str(int(state.search_id or 0) + 1), generation=state.generation)
        while True:
            try:
                store.update(add)
                break
            except Exception as error:
                if type(error).__name__ != "GenerationConflict":
                    raise
elif sys.argv[1] == "crash":
    store.swap(1, State(search_id="new"), guard=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def child(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment)


def test_eight_processes_lose_no_update(store: FileChampionStore) -> None:
    children = [child("count", store.path, str(INCREMENTS)) for _process in range(PROCESSES)]
    try:
        assert [each.wait(timeout=300) for each in children] == [0] * PROCESSES
    finally:
        for each in children:
            each.kill()
    after = store.read()
    assert after.search_id == str(PROCESSES * INCREMENTS)
    assert after.generation == PROCESSES * INCREMENTS


def test_a_crash_before_the_rename_leaves_the_old_document(store: FileChampionStore) -> None:
    store.swap(0, State(search_id="old"))
    assert child("crash", store.path).wait(timeout=60) == -signal.SIGKILL
    draft = Path(store.path).with_name(".champion_state.json.draft")
    assert json.loads(draft.read_text(encoding="utf-8"))["search_id"] == "new"
    assert store.read() == State(generation=1, search_id="old")
    # The lock went with the process, and the draft is written over.
    assert store.swap(1, State(search_id="next")).generation == 2
    assert not draft.exists()


# -- what is no document ------------------------------------------------------------------------------


def spoil(store: FileChampionStore, text: bytes) -> None:
    os.makedirs(os.path.dirname(store.path), exist_ok=True)
    Path(store.path).write_bytes(text)


def aside(store: FileChampionStore) -> list[bytes]:
    folder = Path(store.path).parent
    return [path.read_bytes() for path in sorted(folder.glob("champion_state.json.unreadable-*"))]


def test_what_is_no_document_is_kept_beside_the_new_one(store: FileChampionStore) -> None:
    spoil(store, b'{"schema_version": 1, "generation": 41')
    where, written = store.replace_unreadable(State(champion=champion(120)))
    assert re.fullmatch(r".*/champion_state\.json\.unreadable-\d{8}T\d{6}Z", where)
    assert aside(store) == [b'{"schema_version": 1, "generation": 41']
    assert store.read() == written
    assert abs(written.generation - time.time()) < 3600
    assert store.swap(written.generation, State()).generation == written.generation + 1


def test_a_second_one_within_a_second_is_kept_too(store: FileChampionStore) -> None:
    generations = []
    for text in (b"a", b"b", b"c"):
        spoil(store, text)
        generations.append(store.replace_unreadable(State())[1].generation)
    assert sorted(aside(store)) == [b"a", b"b", b"c"]


def test_a_generation_from_the_future_of_this_clock_is_gone_beyond(store: FileChampionStore) -> None:
    spoil(store, b'{"schema_version": 1, "generation": 99999999999, ')
    assert store.replace_unreadable(State())[1].generation == 100000000000


def test_a_document_that_can_be_read_is_not_replaced(store: FileChampionStore) -> None:
    store.swap(0, State(search_id="s"))
    with pytest.raises(GenerationConflict, match="at generation 1"):
        store.replace_unreadable(State())
    assert store.read().search_id == "s" and aside(store) == []


def test_a_guard_that_raises_leaves_what_was_there(store: FileChampionStore) -> None:
    spoil(store, b"{")

    def guard() -> None:
        raise Orphaned

    with pytest.raises(Orphaned):
        store.replace_unreadable(State(), guard)
    assert Path(store.path).read_bytes() == b"{" and aside(store) == []


# -- changes of the document --------------------------------------------------------------------------


def entry(instance_id: str) -> dict[str, t.Any]:
    return {"instance_id": instance_id}


def test_a_new_champion_retires_the_old_one() -> None:
    state = State(champion=entry("i-1")).with_champion(entry("i-2"))
    assert (state.champion, state.retiring) == (entry("i-2"), (entry("i-1"),))


def test_a_champion_that_is_anchor_or_qualified_does_not_retire() -> None:
    assert State(champion=entry("i-1"), anchor=entry("i-1")).with_champion(entry("i-2")).retiring == ()
    assert State(champion=entry("i-1"), qualified=(entry("i-1"),)).with_champion(entry("i-2")).retiring == ()


def test_the_same_champion_again_retires_nothing() -> None:
    assert State(champion=entry("i-1")).with_champion({**entry("i-1"), "best_us": 1}).retiring == ()


def test_a_second_anchor_is_kept_as_qualified() -> None:
    state = State().with_anchor(entry("i-1")).with_anchor(entry("i-2"))
    assert (state.anchor, state.qualified) == (entry("i-1"), (entry("i-2"),))


def test_a_lost_instance_leaves_every_place() -> None:
    state = State(champion=entry("i-1"), anchor=entry("i-1"), qualified=(entry("i-1"), entry("i-2")))
    assert state.without("i-1") == State(qualified=(entry("i-2"),))
    assert state.survivors() == {"i-1", "i-2"}


IDS = st.sampled_from([f"i-{number}" for number in range(6)])


class Documents(RuleBasedStateMachine):
    """Changes in any order, checked against a plain account of who was kept and who was replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = FileChampionStore(os.path.join(self.directory.name, "champion_state.json"))
        self.generation = 0
        self.kept: set[str] = set()
        self.replaced: set[str] = set()
        self.best_us = 1000.0

    def teardown(self) -> None:
        self.directory.cleanup()

    def change(self, name: str, made: dict[str, t.Any]) -> None:
        before = self.store.read()
        after = self.store.update(lambda state: getattr(state, name)(made))
        self.generation += after != before

    @rule(instance_id=IDS)
    def crown(self, instance_id: str) -> None:
        sits = self.store.read().champion
        self.best_us -= 1
        self.change("with_champion", champion(self.best_us, instance_id))
        self.replaced.discard(instance_id)
        if sits and sits["instance_id"] not in self.kept | {instance_id}:
            self.replaced.add(sits["instance_id"])

    @rule(instance_id=IDS)
    def find_anchor(self, instance_id: str) -> None:
        self.change("with_anchor", champion(500, instance_id))
        self.kept.add(instance_id)
        self.replaced.discard(instance_id)

    @rule(instance_id=IDS)
    def qualify(self, instance_id: str) -> None:
        self.change("with_qualified", champion(500, instance_id))
        self.kept.add(instance_id)
        self.replaced.discard(instance_id)

    @precondition(lambda self: self.replaced)
    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.replaced)))
        self.store.update(lambda state: state.without_retiring(gone))
        self.generation += 1
        self.replaced.discard(gone)

    @rule(behind=st.integers(1, 3))
    def come_late(self, behind: int) -> None:
        with pytest.raises(GenerationConflict):
            self.store.swap(self.generation - behind, State(search_id="late"))

    @invariant()
    def nobody_is_lost(self) -> None:
        state = FileChampionStore(self.store.path).read()
        crowned = {state.champion["instance_id"]} if state.champion else set()
        assert state.survivors() == self.kept | crowned
        assert {each["instance_id"] for each in state.retiring} == self.replaced
        assert not self.replaced & state.survivors()
        assert state.generation == self.generation
        assert state.champion is None or state.champion["best_us"] == self.best_us


Documents.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestDocuments = Documents.TestCase
