# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the champion's document as plain values: what it holds, how it changes, what is no such document.

C(champion_state.json) holds C({schema_version, generation, search_id, champion, anchor, qualified, retiring}). Pure:
who keeps it, and how it is replaced, is the business of L(champion_store) and L(s3_store).
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .._plain_text import plain
from .criteria import STATISTICS, number
from .decision import champion_figure_us, statistic_of

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

Entry = Mapping[str, t.Any]


class DocumentTooNew(ValueError):
    """The document is of a later release of this collection, which knows what this one would lose."""


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
        """Build from the document. Raises ValueError that says what is wrong with it, DocumentTooNew if it is newer."""
        check_document(document)
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


def parse(text: bytes) -> State:
    """The document in a file or an object, its texts as L(plain) makes them: others may write it, too.

    Raises ValueError that says what is wrong, DocumentTooNew if it is newer.
    """
    try:
        document = plain(json.loads(text, parse_constant=_refuse_constant))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return State.from_dict(document)


def render(state: State) -> str:
    """The text of the document."""
    return json.dumps(state.to_dict(), indent=2, allow_nan=False) + "\n"


def next_generation(unreadable: bytes, now_s: float) -> int:
    """A generation for what replaces an unreadable document, which no earlier document can have had.

    Documents go on by one for each change, so that the second of the making is beyond all of them; what can still be
    read of the lost one is, in case it was itself made so.
    """
    found = re.search(rb'"generation"\s*:\s*(\d{1,15})\b', unreadable)
    return max(int(now_s), int(found.group(1)) + 1 if found else 0)


def check_document(document: t.Any) -> None:
    """Raise ValueError unless the document is one of this release, DocumentTooNew for one of a later release."""
    if not isinstance(document, Mapping):
        raise ValueError("it is not a JSON object")
    version = document.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise DocumentTooNew(f"its schema_version is {version}, this release of the collection reads {SCHEMA_VERSION}")
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
    if document.get("champion") is not None:
        check_champion(document["champion"])


def check_champion(champion: Entry) -> None:
    """Raise ValueError unless the entry has all that a champion is found and compared by."""
    missing = [key for key in CHAMPION_KEYS if champion.get(key) is None]
    if missing:
        raise ValueError(f"its champion has no {', '.join(missing)}")
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
