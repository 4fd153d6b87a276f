# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: a survivor's entry as tags of its instance, and the champion's document made anew from such tags. Pure.

AWS allows 50 tags a resource, keys of 128 and values of 256 characters, and in all of its services only letters, digits
and C(+ - = . _ : / @) beside spaces (EC2 user guide, "Tag restrictions"). Whatever else a value holds is written as
C(@) and two hexadecimal digits for each byte of its UTF-8; what is longer than a tag goes on in C(<key>.2) and so on.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .._ec2.transformations import LIVE_STATES, ROLE_CANDIDATE, TAG_ROLE, TAG_ROUND, TAG_SEARCH_ID
from .._plain_text import one_line, plain
from .champion_document import Entry, State, check_champion
from .criteria import number
from .decision import champion_figure_us, check_same_measure

TAG_CHAMPION = "lowlatency:champion"
TAG_QUALIFIED = "lowlatency:qualified"
TAG_ADDRESSES = "lowlatency:addresses"
#: The document that a survivor stands in. Two searches of one id may have documents of their own.
TAG_DOCUMENT = "lowlatency:document"

#: The role of an instance that a person took the seat from: it runs on, and no search counts on it.
ROLE_DEMOTED = "demoted"
ROLE_ANCHOR, ROLE_CHAMPION, ROLE_QUALIFIED = "anchor", "champion", "qualified"
SURVIVING_ROLES = frozenset({ROLE_ANCHOR, ROLE_CHAMPION, ROLE_QUALIFIED})

MOST_TAGS, LONGEST_KEY, LONGEST_VALUE = 50, 128, 256

#: Tags that an entry takes at most beside its addresses and those of every resource of a search (Labels.tags, Name).
OWN_TAGS = 25

_FLOATS = {"best_us": "lowlatency:best-us", "p0_1_us": "lowlatency:p0-1-us"}
_TEXTS = {
    "address": "lowlatency:address",
    "endpoint": "lowlatency:endpoint",
    "metric": "lowlatency:metric",
    "statistic": "lowlatency:statistic",
    "connect": "lowlatency:connect",
    "probe_mode": "lowlatency:probe-mode",
    "since": "lowlatency:since",
    "host_key": "lowlatency:host-key",
}
#: Keys that an entry has only if they are known: a document from before them stays as it is.
_OPTIONAL = frozenset({"host_key"})
_IDENTITIES = {"round_id": TAG_ROUND, "kind": TAG_ROLE, "search_id": TAG_SEARCH_ID}
TAG_SAMPLES = "lowlatency:samples"

_PLAIN = re.compile(r"[A-Za-z0-9+\-._:/]")
_NONE, _EMPTY = "@n", "@e"
_FIELDS = 11


class TagsError(ValueError):
    """The tags of an instance hold no entry; the message names the tag."""


@dataclass(frozen=True)
class Rebuilt:
    """A document made from tags, and a line for each instance that could not be taken for what its tags say."""

    state: State
    notes: tuple[str, ...] = ()


# -- text in tags -------------------------------------------------------------------------------------


def _escaped(text: str) -> str:
    """The text in the characters that all services take, never empty and never with a prefix of AWS's own."""
    if not text:
        return _EMPTY
    plain = "".join(each if _PLAIN.fullmatch(each) else _bytes(each) for each in text)
    return re.sub("(?i)(aws):", r"\1@3a", plain)


def _bytes(character: str) -> str:
    return "".join(f"@{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _unescaped(text: str) -> str:
    if text == _EMPTY:
        return ""
    whole = re.sub("@([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), text)
    # What was escaped are bytes, what was not is ASCII: as Latin-1 both are the bytes of the UTF-8.
    return whole.encode("latin-1").decode("utf-8", "surrogatepass")


def _pieces(key: str, text: str) -> dict[str, str]:
    cut = [text[start : start + LONGEST_VALUE] for start in range(0, len(text), LONGEST_VALUE)]
    return {key if number_ == 1 else f"{key}.{number_}": piece for number_, piece in enumerate(cut, start=1)}


def _joined(tags: Mapping[str, str], key: str) -> str | None:
    if key not in tags:
        return None
    pieces = [tags[key]]
    while f"{key}.{len(pieces) + 1}" in tags:
        pieces.append(tags[f"{key}.{len(pieces) + 1}"])
    return "".join(pieces)


# -- an entry as tags ---------------------------------------------------------------------------------


def tags_of(entry: Entry, room: int = MOST_TAGS) -> dict[str, str]:
    """The tags that hold an entry, but for what the instance itself tells: its id, its type and its placement group.

    At most C(room) tags: addresses to use are left out from the last endpoint on when they don't fit.
    """
    tags: dict[str, str] = {}
    for name, key in {**_FLOATS, **_TEXTS, **_IDENTITIES, "samples": TAG_SAMPLES}.items():
        value = entry.get(name)
        if value is not None:
            # Identities are written by all of a search's code as they are.
            tags.update({key: str(value)} if name in _IDENTITIES else _pieces(key, _value_text(value)))
    rows = [_row_text(row) for row in entry.get("best_addresses") or ()]
    while rows:
        addresses = _pieces(TAG_ADDRESSES, "==".join(rows))
        if len(tags) + len(addresses) <= room:
            return {**tags, **addresses}
        rows.pop()
    return tags


def _value_text(value: t.Any) -> str:
    return _escaped(value if isinstance(value, str) else repr(value))


def _row_text(row: Mapping[str, t.Any]) -> str:
    fields = [row.get("endpoint"), row.get("host"), row.get("port")]
    for key in ("best_median", "best"):
        found = row.get(key) or {}
        fields += [found.get(each) for each in ("address", "wall_us", "wire_us", "samples")]
    return "=".join(_NONE if field is None else _value_text(field) for field in fields)


def entry_of(instance: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The entry that an instance, as the modules show it, carries in its tags. Raises TagsError."""
    tags = instance["tags"]
    entry: dict[str, t.Any] = {key: instance.get(key) for key in ("instance_id", "instance_type", "placement_group")}
    for name, key in _FLOATS.items():
        entry[name] = _number(tags, key, float)
    entry["samples"] = _number(tags, TAG_SAMPLES, int)
    for name, key in _TEXTS.items():
        text = _joined(tags, key)
        if text is not None or name not in _OPTIONAL:
            entry[name] = None if text is None else _plain(key, text)
    for name, key in _IDENTITIES.items():
        entry[name] = tags.get(key)
    entry["best_addresses"] = _rows(_joined(tags, TAG_ADDRESSES))
    return entry


def _number(tags: Mapping[str, str], key: str, kind: type[float] | type[int]) -> float | int | None:
    text = tags.get(key)
    if text is None:
        return None
    try:
        found = kind(text)
    except ValueError as error:
        raise TagsError(f"its tag {key} is {text!r}, no number") from error
    if number(found) is None:
        raise TagsError(f"its tag {key} is {text!r}, no number")
    return found


def _plain(key: str, text: str) -> str:
    try:
        return _unescaped(text)
    except (UnicodeError, ValueError) as error:
        raise TagsError(f"its tag {key} is {text!r}, which is no text") from error


def _rows(text: str | None) -> list[dict[str, t.Any]]:
    return [] if text is None else [_row(each) for each in text.split("==")]


def _row(text: str) -> dict[str, t.Any]:
    fields = [None if each == _NONE else _plain(TAG_ADDRESSES, each) for each in text.split("=")]
    if len(fields) != _FIELDS:
        raise TagsError(f"its tag {TAG_ADDRESSES} holds {text!r}, which is no row of addresses")
    endpoint, host, port, *found = fields
    median, best = _found(found[:4]), _found(found[4:])
    try:
        return {
            "endpoint": endpoint,
            "host": host,
            "port": None if port is None else int(port),
            "pin": median["address"] if median else None,
            "best_median": median,
            "best": best,
        }
    except ValueError as error:
        raise TagsError(f"its tag {TAG_ADDRESSES} has the port {port!r}") from error


def _found(fields: list[str | None]) -> dict[str, t.Any] | None:
    address, wall_us, wire_us, samples = fields
    if address is None:
        return None
    try:
        return {
            "address": address,
            "wall_us": None if wall_us is None else float(wall_us),
            "wire_us": None if wire_us is None else float(wire_us),
            "samples": None if samples is None else int(samples),
        }
    except ValueError as error:
        raise TagsError(f"its tag {TAG_ADDRESSES} has figures of {address} that are no numbers") from error


# -- a document from tags -----------------------------------------------------------------------------


def is_tagged_survivor(instance: Mapping[str, t.Any], search_id: str) -> bool:
    """Whether an instance lives and its tags say that this search kept it."""
    tags = instance["tags"]
    kept = tags.get(TAG_ROLE, ROLE_CANDIDATE) in SURVIVING_ROLES
    return kept and tags.get(TAG_SEARCH_ID) == search_id and instance["state"] in LIVE_STATES


def membership_tags(*, champion: bool, qualified: bool) -> dict[str, str]:
    """The tags that tell the places of a survivor in the document; that of an anchor is its role."""
    places = {TAG_CHAMPION: champion, TAG_QUALIFIED: qualified}
    return {key: "true" for key, holds in places.items() if holds}


def document_tags(identity: str) -> dict[str, str]:
    """The tags that name a survivor's document, by its store's C(identity)."""
    return _pieces(TAG_DOCUMENT, _escaped(identity))


def document_of(tags: Mapping[str, str]) -> str | None:
    """The document that a survivor's tags name, or None. Raises TagsError."""
    text = _joined(tags, TAG_DOCUMENT)
    return None if text is None else _plain(TAG_DOCUMENT, text)


def is_of_document(tags: Mapping[str, str], identity: str) -> bool:
    """Whether a survivor may be of this document: its tags name no other."""
    return _joined(tags, TAG_DOCUMENT) in (None, _escaped(identity))


def rebuild(instances: Iterable[Mapping[str, t.Any]], search_id: str, before: State | None = None) -> Rebuilt:
    """The document that the tags of a search's instances tell.

    What C(before), a document that can be read, says of an instance is never changed; tags add what it lacks, such as a
    survivor whose controller ended between tagging and writing. Of several champions the best one by its figures has
    the seat, and the others retire unless they are kept for another reason. Raises ChampionMismatch for champions that
    were measured in different ways, of which nobody can say which one is better. Texts of tags come in as L(one_line)
    makes them.
    """
    state = State(search_id=search_id) if before is None else before
    retiring = {entry["instance_id"] for entry in state.retiring}
    champions: list[Entry] = [] if state.champion is None else [state.champion]
    notes: list[str] = []
    for tags, entry in _entries(instances, search_id, notes):
        known = entry["instance_id"] in state.survivors()
        if entry["instance_id"] in retiring or known:
            continue
        crowned = tags.get(TAG_CHAMPION) == "true" and _may_be_champion(entry, notes)
        champions += [entry] if crowned else []
        state, placed = _placed(state, entry, tags)
        if not placed and not crowned:
            notes.append(f"{entry['instance_id']} is left out: by its tags it has no seat")
    return Rebuilt(_crowned(state, champions), tuple(map(one_line, notes)))


def _entries(
    instances: Iterable[Mapping[str, t.Any]], search_id: str, notes: list[str]
) -> list[tuple[Mapping[str, str], dict[str, t.Any]]]:
    """Tags and entries of survivors, the oldest promotion first."""
    found: list[tuple[Mapping[str, str], dict[str, t.Any]]] = []
    for instance in instances:
        if not is_tagged_survivor(instance, search_id):
            continue
        try:
            found.append((instance["tags"], plain(entry_of(instance))))
        except TagsError as error:
            notes.append(f"{instance['instance_id']} is left out: {error}")
    return sorted(found, key=lambda pair: (str(pair[1]["since"]), pair[1]["instance_id"]))


def _may_be_champion(entry: Entry, notes: list[str]) -> bool:
    try:
        check_champion(entry)
    except ValueError as error:
        notes.append(f"{entry['instance_id']} is tagged as champion and is not taken for it: {error}")
        return False
    return True


def _placed(state: State, entry: Entry, tags: Mapping[str, str]) -> tuple[State, bool]:
    """The document with the entry where its tags say, but for the champion's seat; and whether they name a place."""
    anchor = tags[TAG_ROLE] == ROLE_ANCHOR
    qualified = tags[TAG_ROLE] == ROLE_QUALIFIED or tags.get(TAG_QUALIFIED) == "true"
    if anchor:
        state = state.with_anchor(entry)
    if qualified:
        state = state.with_qualified(entry)
    return state, anchor or qualified


def _crowned(state: State, champions: list[Entry]) -> State:
    """The document with the best of these as its champion; the others are replaced by it, the worst first."""
    for one in champions[1:]:
        check_same_measure(champions[0], one)
    # Of equal figures the older champion keeps its seat.
    ranked = sorted(champions, key=lambda one: (champion_figure_us(one) or 0.0, str(one.get("since"))), reverse=True)
    for one in ranked:
        state = state.with_champion(one)
    return state
