# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: a champion's document that cannot be read is put aside and made anew from the tags of the survivors."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    GenerationConflict,
    Guard,
    MendableStore,
    StoreUnreadable,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import (
    SURVIVING_ROLES,
    is_of_document,
    rebuild,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import ControllerModules, Result

#: Documents that are put aside in a row before the store is given up.
TRIES = 5


def tagged_survivors(modules: ControllerModules, search_id: str, document: str) -> list[Result]:
    """The live instances of a search that their tags call survivors, without those of other documents."""
    found = modules.run(
        "lowlatency.ec2.candidate_instance_info",
        "survivors",
        search_id=search_id,
        filters={"tag:lowlatency:role": sorted(SURVIVING_ROLES)},
        scheduled_events=True,
    )
    return [each for each in found["candidates"] if is_of_document(each["tags"], document)]


class MendingStore:
    """A store whose readers never meet an unreadable document. See L(champion_store.ChampionStore)."""

    def __init__(
        self,
        store: MendableStore,
        *,
        search_id: str,
        survivors: Callable[[], Iterable[Mapping[str, t.Any]]],
        say: Callable[[str], None],
        guard: Guard = None,
        dry: bool = False,
    ) -> None:
        """C(survivors) asks EC2. With C(dry) nothing is put aside, and the document that would be made is read."""
        self._store = store
        self._search_id = search_id
        self._survivors = survivors
        self._say = say
        self._guard = guard
        self._dry = dry

    @property
    def name(self) -> str:
        """Where the document is."""
        return self._store.name

    @property
    def identity(self) -> str:
        """The name of the document among those of all controllers."""
        return self._store.identity

    def read(self) -> State:
        """See L(ChampionStore)."""
        for _attempt in range(TRIES):
            try:
                return self._store.read()
            except StoreUnreadable as error:
                made = self._mend(error)
                if made is not None:
                    return made
        raise StoreUnreadable(f"{self.name} became unreadable again {TRIES} times in a row")

    def swap(self, expected_generation: int, new_state: State, guard: Guard = None) -> State:
        """See L(ChampionStore)."""
        try:
            return self._store.swap(expected_generation, new_state, guard)
        except StoreUnreadable as error:
            self._mend(error)
            raise GenerationConflict(f"{self.name} was made anew") from error

    def update(self, change: Callable[[State], State], guard: Guard = None) -> State:
        """See L(ChampionStore)."""
        for _attempt in range(TRIES):
            try:
                return self._store.update(change, guard)
            except StoreUnreadable as error:
                self._mend(error)
        raise StoreUnreadable(f"{self.name} became unreadable again {TRIES} times in a row")

    def _mend(self, error: StoreUnreadable) -> State | None:
        """The document that was made, or None when another controller was quicker."""
        made = rebuild(self._survivors(), self._search_id)
        for note in made.notes:
            self._say(note)
        if self._dry:
            return made.state
        try:
            aside, written = self._store.replace_unreadable(made.state, self._guard)
        except GenerationConflict:
            return None
        kept = ", ".join(sorted(written.survivors())) or "no survivor"
        self._say(f"{error}; it is kept as {aside}, and was made anew from the tags of {kept}")
        return written
