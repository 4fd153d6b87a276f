# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does with a champion: look at it, seat it, unseat it, and make its document anew from tags.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ._ec2 import calls
from ._ec2.candidate import present
from ._ec2.client import Client, Ec2Error
from ._ec2.reap_plan import is_past
from ._ec2.transformations import (
    LIVE_STATES,
    TAG_EXPIRES_AT,
    TAG_ROLE,
    TAG_SEARCH_ID,
    candidate_of,
    changed_parts,
    filters_of,
)
from ._plain_text import plain
from ._search.champion_document import Entry, State, check_champion
from ._search.champion_store import MendableStore, StoreUnreadable
from ._search.champion_tags import (
    MOST_TAGS,
    ROLE_CHAMPION,
    ROLE_DEMOTED,
    SURVIVING_ROLES,
    TAG_ADDRESSES,
    TAG_CHAMPION,
    TAG_DOCUMENT,
    TAG_QUALIFIED,
    document_tags,
    entry_of,
    is_of_document,
    rebuild,
    tags_of,
)
from ._search.decision import champion_figure_us, check_same_measure
from ._search.intents import Intent, open_intents

Instance = Mapping[str, t.Any]
Options = Mapping[str, t.Any]
Result = dict[str, t.Any]


class ChampionError(ValueError):
    """What was asked for cannot be done; the message names the option."""


@dataclass(frozen=True)
class Reading:
    """The document, or what tags make of it where it cannot be read, with the reason."""

    state: State
    problem: str | None = None
    notes: tuple[str, ...] = ()


# -- decisions ----------------------------------------------------------------------------------------


def entry_to_seat(instance: Instance, figures: Mapping[str, t.Any], search_id: str, now: str) -> dict[str, t.Any]:
    """The entry of a champion, from its tags and from figures that go over them. Raises ChampionError."""
    role = instance["tags"].get(TAG_ROLE)
    given = {key: value for key, value in figures.items() if value is not None}
    entry = {**entry_of(instance), **given, "search_id": search_id}
    entry["since"] = entry["since"] or now
    entry["kind"] = role if role in SURVIVING_ROLES else ROLE_CHAMPION
    try:
        check_champion(entry)
    except ValueError as error:
        told = str(error).replace("its champion", f"'{instance['instance_id']}'", 1)
        raise ChampionError(f"instance_id: {told} in its tags: give it in figures") from error
    return entry


def seated(state: State, entry: Entry, force: bool) -> State:
    """The document with this champion. Raises ChampionError for one that is worse, unless it is forced."""
    sits = state.champion
    if sits is not None and sits["instance_id"] != entry["instance_id"]:
        check_same_measure(sits, entry)
        sits_us, new_us = champion_figure_us(sits) or 0.0, champion_figure_us(entry) or 0.0
        if new_us >= sits_us and not force:
            raise ChampionError(
                f"instance_id: '{entry['instance_id']}' with {new_us:.2f} us is no better than the champion"
                f" '{sits['instance_id']}' with {sits_us:.2f} us: demote that one first, or set force: true"
            )
    return state.with_champion(entry)


def unseated(state: State, instance_id: str, retire: bool) -> State:
    """The document without that instance, or with it among those that the next search ends."""
    entries = [entry for entry in (*state.qualified, state.anchor, state.champion) if entry is not None]
    found = next((dict(entry) for entry in reversed(entries) if entry["instance_id"] == instance_id), None)
    if found is None:
        return state
    after = state.without(instance_id)
    return replace(after, retiring=(*after.retiring, found)) if retire else after


def places_of(state: State, instance_id: str) -> list[str]:
    """Where the document names an instance."""
    held: dict[str, tuple[Entry | None, ...]] = {
        "champion": (state.champion,),
        "anchor": (state.anchor,),
        "qualified": state.qualified,
        "retiring": state.retiring,
    }
    ids = {name: {each["instance_id"] for each in entries if each} for name, entries in held.items()}
    return [name for name, named in ids.items() if instance_id in named]


def promoting(open_rounds: Iterable[Intent], now: datetime.datetime) -> list[str]:
    """The instances whose promotion had begun when their round was interrupted, while their time is not up.

    What becomes of them is for the next search to say; when none comes, their tags decide as for any other.
    """
    found = {str(each.instance_id) for each in open_rounds if each.promotion and not is_past(each.expires_at, now)}
    return sorted(found)


# -- acts -----------------------------------------------------------------------------------------------


class Seat:
    """The champion's document, and the instances that it names."""

    def __init__(self, client: Client, store: MendableStore, options: Options, check_mode: bool) -> None:
        """Take the options of the module champion."""
        self._client = client
        self._store = store
        self._options = options
        self._check_mode = check_mode
        self._instance_changed = False

    def run(self) -> Result:
        """Do what O(state) says and return the module's result."""
        acts: dict[str, Callable[[Reading], tuple[State, str | None]]] = {
            "shown": lambda reading: (reading.state, None),
            "adopted": lambda reading: (self._adopt(reading), None),
            "demoted": lambda reading: (self._demote(reading), None),
            "rebuilt": self._rebuild,
        }
        reading = self._read()
        after, aside = acts[self._options["state"]](reading)
        changed = self._instance_changed or aside is not None or _content(after) != _content(reading.state)
        mended = self._options["state"] == "rebuilt"
        notes = list(reading.notes)
        return {
            "changed": changed or (mended and reading.problem is not None),
            "store": self._store.name,
            "document": after.to_dict(),
            "survivors": sorted(after.survivors()),
            "promoting": promoting(self._open_rounds(notes), datetime.datetime.now(datetime.timezone.utc)),
            "instances": plain(self._instances(after)),
            "problem": None if mended else reading.problem,
            "notes": notes,
            "set_aside": aside,
            "diff": changed_parts(_content(reading.state), _content(after)),
        }

    # reading

    def _open_rounds(self, notes: list[str]) -> list[Intent]:
        reports_dir = self._options["reports_dir"]
        return list(open_intents(reports_dir, notes.append)) if reports_dir else []

    def _read(self) -> Reading:
        try:
            return Reading(self._store.read())
        except StoreUnreadable as error:
            made = rebuild(self._tagged(), self._options["search_id"])
            return Reading(made.state, str(error), made.notes)

    def _tagged(self) -> list[Result]:
        """The survivors of the search by their tags: of this document, of none, and of those that were named."""
        tags = {TAG_SEARCH_ID: self._options["search_id"]}
        wanted = filters_of({f"tag:{TAG_ROLE}": sorted(SURVIVING_ROLES)}, tags)
        found = [candidate_of(one) for one in calls.describe_instances(self._client, wanted)]
        documents = [self._store.identity, *self._options["from_documents"]]
        return [each for each in found if any(is_of_document(each["tags"], name) for name in documents)]

    def _instances(self, state: State) -> list[Result]:
        named = sorted(state.survivors() | {entry["instance_id"] for entry in state.retiring})
        if not named:
            return []
        answer = calls.describe_instances(self._client, filters_of({"instance-id": named}, None))
        found = {one["instance_id"]: one for one in map(candidate_of, answer)}
        keys = ("instance_type", "placement_group", "availability_zone", "public_ip_address", "private_ip_address")
        return [
            {
                "instance_id": name,
                "places": places_of(state, name),
                "state": found[name]["state"] if name in found else "gone",
                **{key: found.get(name, {}).get(key) for key in keys},
            }
            for name in named
        ]

    def _instance(self) -> Result | None:
        found = calls.describe_instances_by_id(self._client, [self._options["instance_id"]])
        live = [one for one in map(candidate_of, found) if one["state"] in LIVE_STATES]
        return live[0] if live else None

    def _readable(self, reading: Reading) -> State:
        if reading.problem is not None:
            raise ChampionError(f"{reading.problem} (state: rebuilt puts it aside and makes it anew)")
        return reading.state

    # changing

    def _rebuild(self, reading: Reading) -> tuple[State, str | None]:
        tagged = self._tagged()
        if reading.problem is not None:
            if self._check_mode:
                return reading.state, None
            aside, written = self._store.replace_unreadable(reading.state)
            self._name_document(tagged, written)
            return written, aside
        search_id = self._options["search_id"]
        made = rebuild(tagged, search_id, reading.state)
        if _content(made.state) == _content(reading.state) or self._check_mode:
            return made.state, None
        after = self._store.update(lambda state: rebuild(tagged, search_id, state).state)
        self._name_document(tagged, after)
        return after, None

    def _name_document(self, tagged: list[Result], state: State) -> None:
        """Survivors that came from another document carry the name of this one."""
        names = document_tags(self._store.identity)
        for each in tagged:
            if each["instance_id"] in state.survivors() and not names.items() <= each["tags"].items():
                calls.create_tags(self._client, [each["instance_id"]], names)

    def _adopt(self, reading: Reading) -> State:
        before = self._readable(reading)
        instance = self._instance()
        if instance is None:
            raise ChampionError(f"instance_id: there is no live instance '{self._options['instance_id']}'")
        if instance["market"] == "spot" and not self._options["allow_spot_survivor"]:
            raise ChampionError(
                f"instance_id: '{instance['instance_id']}' is a spot instance, which cannot be protected:"
                " set allow_spot_survivor: true to keep it all the same"
            )
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        figures = self._options["figures"] or {}
        entry = entry_to_seat(instance, figures, self._options["search_id"], now)
        force = self._options["force"]
        after = seated(before, entry, force)
        # The order of a promotion: an instance in the document is protected and can be told by its tags.
        self._protect(instance, entry)
        if after != before and not self._check_mode:
            after = self._store.update(lambda state: seated(state, entry, force))
            self._take_crown(before, after)
        return after

    def _protect(self, instance: Instance, entry: Entry) -> None:
        tags = {
            TAG_EXPIRES_AT: "never",
            TAG_CHAMPION: "true",
            **document_tags(self._store.identity),
        }
        others = {key for key in instance["tags"] if not key.startswith((TAG_ADDRESSES, TAG_DOCUMENT))}
        own = tags_of({**entry, "best_addresses": []})
        room = MOST_TAGS - len({*others, *tags, *own}) + len(own)
        tags |= tags_of(entry, room)
        spot = instance["market"] == "spot"
        kept = present(
            self._client,
            None,
            {
                "instance_id": instance["instance_id"],
                "round_id": None,
                "name": None,
                "tags": tags,
                "purge_tags": False,
                "shutdown_behavior": None if spot else "stop",
                "termination_protection": None if spot else True,
                "stop_protection": None if spot else True,
                "auto_recovery": None if spot else "disabled",
                "reboot_migration": None if spot else "disabled",
                "settle_timeout": None,
                "wait": False,
                "wait_timeout": 0,
            },
            self._check_mode,
        )
        stale = [key for key in instance["tags"] if key.startswith((TAG_ADDRESSES, TAG_DOCUMENT)) and key not in tags]
        if stale and not self._check_mode:
            calls.delete_tags(self._client, [instance["instance_id"]], stale)
        self._instance_changed = bool(kept["changed"] or stale)

    def _take_crown(self, before: State, after: State) -> None:
        """The instance that was champion is tagged so no longer, lest its tags contend for the seat."""
        old = before.champion
        if old is None or after.champion is None or old["instance_id"] == after.champion["instance_id"]:
            return
        try:
            calls.create_tags(self._client, [old["instance_id"]], {TAG_CHAMPION: "false"})
        except Ec2Error as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise

    def _demote(self, reading: Reading) -> State:
        before = self._readable(reading)
        instance_id, retire = self._options["instance_id"], self._options["retire"]
        instance = self._instance()
        if instance is not None and (_is_kept(instance) or places_of(before, instance_id)):
            wanted = {TAG_CHAMPION: "false", TAG_QUALIFIED: "false", TAG_ROLE: ROLE_DEMOTED}
            if not wanted.items() <= instance["tags"].items():
                self._refuse_other_searches(instance)
                self._instance_changed = True
                if not self._check_mode:
                    calls.create_tags(self._client, [instance_id], wanted)
        after = unseated(before, instance_id, retire and instance is not None)
        if after == before or self._check_mode:
            return after
        return self._store.update(lambda state: unseated(state, instance_id, retire and instance is not None))

    def _refuse_other_searches(self, instance: Instance) -> None:
        theirs, ours = instance["tags"].get(TAG_SEARCH_ID), self._options["search_id"]
        if theirs != ours:
            name = instance["instance_id"]
            raise ChampionError(f"instance_id: '{name}' is of the search {theirs!r}, not of {ours!r} (search_id)")


def _is_kept(instance: Instance) -> bool:
    return instance["tags"].get(TAG_ROLE) in SURVIVING_ROLES


def _content(state: State) -> Result:
    """The document without what changes with every writing."""
    return {key: value for key, value in state.to_dict().items() if key != "generation"}
