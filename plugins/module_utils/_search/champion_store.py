# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the champion's document, changed by compare-and-swap on a generation number.

C(champion_state.json) holds C({schema_version, generation, search_id, champion, anchor, qualified, retiring}).
A writer names the generation that it read; the document is replaced only while it still has that one. A lock on
a file beside it orders the writers of one machine, and the file is written apart and renamed, so that a reader
and a crash see either the old document or the new one.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from .._whole_file import locked, write_whole
from .criteria import STATISTICS, number
from .decision import (
    champion_figure_us,
    check_same_measure,
    statistic_of,
)

SCHEMA_VERSION = 1

#: What every champion in the document has, so that it can be found and compared with.
CHAMPION_KEYS: tuple[str, ...] = (
    "instance_id",
    "instance_type",
    "placement_group",
    "best_us",
    "address",
    "endpoint",
    "metric",
    "samples",
)

#: Times that L(FileChampionStore.update) tries. Each failure means that another slot succeeded.
MAX_ATTEMPTS = 50

Entry = Mapping[str, t.Any]


class StoreError(Exception):
    """The champion's document could not be read or changed."""


class StoreUnreadable(StoreError):
    """The document is there but cannot be used; it is left as it is."""


class GenerationConflict(StoreError):
    """Another writer changed the document since it was read: read it again and decide again."""


@dataclass(frozen=True)
class State:
    """The champion's document. Entries are dictionaries that hold at least C(instance_id)."""

    generation: int = 0
    search_id: str | None = None
    champion: Entry | None = None
    anchor: Entry | None = None
    qualified: tuple[Entry, ...] = ()
    retiring: tuple[Entry, ...] = ()

    @classmethod
    def from_dict(cls, document: t.Any) -> State:
        """Build from the document. Raises ValueError that says what is wrong with it."""
        _check_document(document)
        return cls(
            generation=document["generation"],
            search_id=document.get("search_id"),
            champion=document.get("champion"),
            anchor=document.get("anchor"),
            qualified=tuple(document.get("qualified") or ()),
            retiring=tuple(document.get("retiring") or ()),
        )

    def to_dict(self) -> dict[str, t.Any]:
        """The document as it is written."""
        return {
            "schema_version": SCHEMA_VERSION,
            "generation": self.generation,
            "search_id": self.search_id,
            "champion": None if self.champion is None else dict(self.champion),
            "anchor": None if self.anchor is None else dict(self.anchor),
            "qualified": [dict(entry) for entry in self.qualified],
            "retiring": [dict(entry) for entry in self.retiring],
        }

    def survivors(self) -> frozenset[str]:
        """Instance ids that the document wants kept: champion, anchor and qualified."""
        kept = (self.champion, self.anchor, *self.qualified)
        return frozenset(entry["instance_id"] for entry in kept if entry is not None)

    def with_champion(self, champion: Entry) -> State:
        """The document with a new champion; the old one retires unless it is kept for another reason."""
        old = self.champion
        after = replace(self, champion=dict(champion))
        after = after.without_retiring(champion["instance_id"])
        if old is None or old["instance_id"] in after.survivors():
            return after
        return replace(after, retiring=(*after.without_retiring(old["instance_id"]).retiring, dict(old)))

    def with_anchor(self, anchor: Entry) -> State:
        """The document with an anchor. A second one, found by another slot meanwhile, is kept as qualified."""
        if self.anchor is not None and self.anchor["instance_id"] != anchor["instance_id"]:
            return self.with_qualified(anchor)
        return replace(self, anchor=dict(anchor)).without_retiring(anchor["instance_id"])

    def with_qualified(self, entry: Entry) -> State:
        """The document with one more qualified candidate, or with its entry renewed."""
        others = tuple(each for each in self.qualified if each["instance_id"] != entry["instance_id"])
        return replace(self, qualified=(*others, dict(entry))).without_retiring(entry["instance_id"])

    def without_retiring(self, instance_id: str) -> State:
        """The document without that instance in C(retiring): it was ended, or is wanted again."""
        return replace(self, retiring=tuple(each for each in self.retiring if each["instance_id"] != instance_id))

    def without(self, instance_id: str) -> State:
        """The document without that instance anywhere: it is gone."""
        champion = self.champion if self.champion and self.champion["instance_id"] != instance_id else None
        anchor = self.anchor if self.anchor and self.anchor["instance_id"] != instance_id else None
        qualified = tuple(each for each in self.qualified if each["instance_id"] != instance_id)
        after = replace(self, champion=champion, anchor=anchor, qualified=qualified)
        return after.without_retiring(instance_id)


def _check_document(document: t.Any) -> None:
    if not isinstance(document, Mapping):
        raise ValueError("it is not a JSON object")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"its schema_version is {version!r}, this collection reads {SCHEMA_VERSION}")
    generation = document.get("generation")
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise ValueError(f"its generation is {generation!r}, not a whole number from 0 on")
    for key in ("champion", "anchor"):
        _check_entry(key, document.get(key))
    for key in ("qualified", "retiring"):
        entries = document.get(key) or []
        if not isinstance(entries, (list, tuple)):
            raise ValueError(f"its {key} is not a list")
        for entry in entries:
            _check_entry(key, entry, optional=False)
    champion = document.get("champion")
    missing = [key for key in CHAMPION_KEYS if champion is not None and champion.get(key) is None]
    if missing:
        raise ValueError(f"its champion has no {', '.join(missing)}")
    if champion is not None:
        _check_figures(champion)


def _check_figures(champion: Entry) -> None:
    if number(champion["best_us"]) is None:
        raise ValueError(f"its champion's best_us is {champion['best_us']!r}, not a number of microseconds")
    # Documents from before there was a choice have no statistic: theirs is the best.
    statistic = statistic_of(champion)
    if statistic not in STATISTICS:
        raise ValueError(f"its champion's statistic is {statistic!r}, none of {', '.join(STATISTICS)}")
    if champion_figure_us(champion) is None:
        key = f"{statistic}_us"
        raise ValueError(f"its champion's {key} is {champion.get(key)!r}, not a number of microseconds")


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_entry(key: str, entry: t.Any, optional: bool = True) -> None:
    if entry is None and optional:
        return
    if not isinstance(entry, Mapping) or not isinstance(entry.get("instance_id"), str):
        raise ValueError(f"its {key} names no instance_id")


class FileChampionStore:
    """The champion's document in a file, for searches of one controller."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A link is followed, since a rename would put a file in its place.
        self.path = os.path.realpath(os.fspath(path))
        self.lock_path = f"{self.path}.lock"

    def read(self) -> State:
        """The document as it stands; a missing file is an empty one of generation 0.

        Raises StoreUnreadable for a file that is not such a document.
        """
        try:
            with open(self.path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise StoreUnreadable(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            return State.from_dict(json.loads(text, parse_constant=_refuse_constant))
        except ValueError as error:
            raise StoreUnreadable(
                f"{self.path} is no champion's document and is left as it is: {error}"
                " (move it away to begin anew; a survivor's tags tell what it held)"
            ) from error

    def swap(self, expected_generation: int, new_state: State, guard: Callable[[], None] | None = None) -> State:
        """Replace the document of that generation and return it as written, one generation on.

        C(guard) is called just before the rename, and what it raises leaves the old document in place.
        Raises GenerationConflict when the document has another generation, StoreUnreadable when there is one
        that cannot be read, ChampionMismatch when the champion would be replaced by one measured in another
        way, StoreError when the directory cannot be written.
        """
        with self._locked():
            current = self.read()
            if current.generation != expected_generation:
                raise GenerationConflict(
                    f"{self.path} is at generation {current.generation}, not {expected_generation}"
                )
            if current.champion is not None and new_state.champion is not None:
                check_same_measure(current.champion, new_state.champion)
            written = replace(new_state, generation=expected_generation + 1)
            _check_document(written.to_dict())
            self._write(written, guard)
            return written

    def update(self, change: Callable[[State], State], guard: Callable[[], None] | None = None) -> State:
        """Read, change and swap until no other writer comes between; return the document as it then stands.

        C(change) decides on each fresh reading; when it returns its argument, nothing is written. Raises what
        L(swap) raises, and GenerationConflict when others came between every time.
        """
        for _attempt in range(MAX_ATTEMPTS):
            current = self.read()
            wanted = change(current)
            if wanted == current:
                return current
            try:
                return self.swap(current.generation, wanted, guard)
            except GenerationConflict:
                continue
        raise GenerationConflict(f"{self.path} was changed by others {MAX_ATTEMPTS} times in a row")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                held.enter_context(locked(self.path))
            except OSError as error:
                raise StoreError(f"{self.lock_path} cannot be written: {error.strerror}") from error
            yield

    def _write(self, state: State, guard: Callable[[], None] | None) -> None:
        text = json.dumps(state.to_dict(), indent=2, allow_nan=False) + "\n"
        try:
            write_whole(self.path, text, guard)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error
