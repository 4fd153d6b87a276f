# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several controllers at one champion's document, interleaved, with lost answers and crashes: it stays linearizable."""

from __future__ import annotations

import os
import tempfile
import typing as t
from collections.abc import Callable

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State, parse
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    ChampionStore,
    FileChampionStore,
    GenerationConflict,
    StoreError,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import TRIES, S3ChampionStore
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.fake_s3 import BUCKET, KEY, Crash, FakeS3, Objects
from support.rounds import champion

CONTROLLERS = 3
MADE, NOT_MADE, UNKNOWN = "made", "not made", "unknown"

#: What happens at each request of an operation; "other" lets another controller do a whole operation in between.
EVENTS = st.sampled_from(
    [None, "other", "lost_before", "lost_after", "503_before", "503_after", "409", "crash_before", "crash_after"]
)
SCRIPTS = st.lists(EVENTS, max_size=12)
WHO = st.integers(0, CONTROLLERS - 1)
BEST_US = st.integers(100, 140)


class Races(RuleBasedStateMachine):
    """An account of what each operation claimed, held against every document that ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[str, str] = {}
        self.ended: set[str] = set()
        self.script: list[str | None] = []
        self.deep = False
        self.number = 0
        self.failures = 0
        self.controllers: list[ChampionStore] = [self.controller() for _one in range(CONTROLLERS)]
        self.other = self.controller()

    # what the two kinds of store have in common

    def controller(self) -> ChampionStore:
        raise NotImplementedError

    def documents(self) -> list[State]:
        raise NotImplementedError

    def between(self) -> None:
        """Called where another controller can come between a reading and a write."""

    def guard(self) -> None:
        """Called just before a write."""

    # one operation

    def next_event(self) -> str | None:
        if self.deep or not self.script:
            return None
        event = self.script.pop(0)
        if event == "other":
            self.deep = True
            try:
                self.come_between()
            finally:
                self.deep = False
            return None
        return event

    def come_between(self) -> None:
        """Another controller, for which everything goes well, changes the document."""
        name = self.new_name()
        self.other.update(lambda state: state.with_qualified({"instance_id": name}))
        self.claims[name] = MADE

    def plan(self, script: list[str | None]) -> None:
        self.script = list(script)
        self.failures = len([event for event in script if event not in (None, "other")])

    def fail(self, who: int, name: str, error: Exception) -> None:
        """Note what an operation that did not succeed claims; it may not know only when S3 was away for long."""
        if isinstance(error, Crash):
            self.controllers[who] = self.controller()
        elif not isinstance(error, GenerationConflict):
            assert self.failures >= TRIES, f"gave up after {self.failures} failures: {error}"
        self.claims[name] = NOT_MADE if isinstance(error, GenerationConflict) else UNKNOWN

    def attempt(self, who: int, name: str, operation: Callable[[], State]) -> None:
        try:
            operation()
        except (Crash, StoreError) as error:
            self.fail(who, name, error)
        else:
            self.claims[name] = MADE
        self.script = []

    def new_name(self) -> str:
        self.number += 1
        return f"i-{self.number}"

    def new_champion(self, store: ChampionStore, best_us: float) -> str | None:
        """Crown a candidate if it is better than who sits when it is written; returns it if it was."""
        name = self.new_name()
        made = champion(best_us, name)

        def change(state: State) -> State:
            self.between()
            if state.champion is not None and state.champion["best_us"] <= best_us:
                return state
            return state.with_champion(made)

        if store.update(change, self.guard).champion == made:
            self.claims[name] = MADE
            return name
        return None

    # rules

    @rule(who=WHO, best_us=BEST_US, script=SCRIPTS)
    def crown(self, who: int, best_us: int, script: list[str | None]) -> None:
        self.plan(script)
        name = f"i-{self.number + 1}"
        try:
            self.new_champion(self.controllers[who], best_us)
        except (Crash, StoreError) as error:
            self.fail(who, name, error)
        self.script = []

    @rule(who=WHO, script=SCRIPTS)
    def qualify(self, who: int, script: list[str | None]) -> None:
        """One swap of one generation, whatever comes between."""
        store = self.controllers[who]
        before = store.read()
        name = self.new_name()
        self.plan(script)
        self.between()
        made = before.with_qualified({"instance_id": name})
        self.attempt(who, name, lambda: store.swap(before.generation, made, self.guard))

    @rule(who=WHO)
    def end_the_retiring(self, who: int) -> None:
        store = self.controllers[who]
        retiring = {each["instance_id"] for each in store.read().retiring}

        def change(state: State) -> State:
            for each in retiring:
                state = state.without_retiring(each)
            return state

        store.update(change)
        self.ended |= retiring

    # what must hold

    @invariant()
    def generations_go_up_by_one(self) -> None:
        generations = [each.generation for each in self.documents()]
        assert generations == list(range(1, len(generations) + 1))

    @invariant()
    def each_claim_is_true(self) -> None:
        documents = self.documents()
        came = [_names(after) - _names(before) for before, after in zip([State(), *documents], documents)]
        for name, claim in self.claims.items():
            times = sum(name in each for each in came)
            assert times <= 1, f"{name} came {times} times"
            assert claim == UNKNOWN or times == (claim == MADE), f"{name} was claimed to be {claim}"

    @invariant()
    def nobody_is_lost(self) -> None:
        documents = self.documents()
        left = documents[-1] if documents else State()
        everybody = set().union(*(_names(each) for each in documents))
        assert everybody - self.ended == _names(left) - self.ended

    @invariant()
    def each_champion_is_better_than_the_one_before(self) -> None:
        seated = [each.champion["best_us"] for each in self.documents() if each.champion is not None]
        assert seated == sorted(seated, reverse=True)


def _names(state: State) -> set[str]:
    return set(state.survivors()) | {each["instance_id"] for each in state.retiring}


class S3Races(Races):
    """On S3 every request is a point at which anything may happen."""

    def __init__(self) -> None:
        self.objects = Objects()
        super().__init__()

    def controller(self) -> ChampionStore:
        client = FakeS3(self.objects, lambda _action: self.next_event())
        return S3ChampionStore(client, BUCKET, KEY, pause=lambda _seconds: None)

    def documents(self) -> list[State]:
        return [parse(body) for body in self.objects.history]


class FileRaces(Races):
    """In a file it is the moment between reading and writing, and the one before the file is renamed."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "champion_state.json")
        self.written: list[State] = []
        super().__init__()

    def teardown(self) -> None:
        self.directory.cleanup()

    def controller(self) -> ChampionStore:
        outer = self

        class Recorded(FileChampionStore):
            def _write(self, state: State, guard: t.Any) -> None:
                super()._write(state, guard)
                outer.written.append(state)
                if outer.next_crash("crash_after"):
                    raise Crash

        return Recorded(self.path, pause=lambda _seconds: None)

    def next_crash(self, wanted: str) -> bool:
        if not self.deep and self.script and self.script[0] == wanted:
            self.script.pop(0)
            return True
        return False

    def between(self) -> None:
        while not self.deep and self.script and self.script[0] not in ("crash_before", "crash_after"):
            self.next_event()

    def guard(self) -> None:
        if self.next_crash("crash_before"):
            raise Crash

    def documents(self) -> list[State]:
        if self.written:
            assert FileChampionStore(self.path).read() == self.written[-1]
        return self.written


for machine in (S3Races, FileRaces):
    machine.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestS3Races = S3Races.TestCase
TestFileRaces = FileRaces.TestCase
