# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a round is about to do, written down before it is done.

Private to lowlatency.ec2: its interface may change at any time.

One JSON file a round under C(<search_reports_dir>/rounds), replaced whole, removed when the round has ended properly.
Whoever finds one whose owner has ended knows what may exist: the group by its name, the instance by its round's tag
and by the client token it was asked for with, since a launch whose answer was lost still made an instance.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import typing as t
from collections.abc import Iterator, Mapping

from .._whole_file import write_whole

SCHEMA_VERSION = 1
FOLDER = "rounds"

#: The steps of a round that make or remove something, in their order. C(promote) carries what the document is to hold.
STEPS: tuple[str, ...] = ("group", "launch", "launched", "promote", "discard", "drop_group")


class IntentUnreadable(ValueError):
    """A file under C(rounds) is no intent; it is left as it is."""


@dataclasses.dataclass(frozen=True)
class Intent:
    """What a round is about to do.

    C(owner) is the value of the tag C(lowlatency:owner), C(guardian) that of the round's guardian in the same form.
    C(promotion) is what C(Promotion.plan) returns: the document's entry, the tags, whether EC2 takes protections for
    it, the champion that it was judged against and that one's group, and where its shell is.
    """

    round_id: str
    search_id: str
    slot: str
    owner: str
    group: str
    expires_at: str
    began_at: str
    step: str = "group"
    serial: int = 0
    client_tokens: tuple[str, ...] = ()
    instance_id: str | None = None
    promotion: Mapping[str, t.Any] | None = None
    pending_groups: tuple[str, ...] = ()
    connect: str = "public"
    guardian: str | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """The document as it is written."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, document: t.Any) -> Intent:
        """Build from the document. Raises IntentUnreadable that says what is wrong with it."""
        if not isinstance(document, Mapping) or document.get("schema_version") != SCHEMA_VERSION:
            raise IntentUnreadable(f"it is no object of schema_version {SCHEMA_VERSION}")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        given = {name: value for name, value in document.items() if name in fields}
        needed = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
        missing = [name for name in needed if not isinstance(given.get(name), str) or not given[name]]
        if missing:
            raise IntentUnreadable(f"it has no {', '.join(missing)}")
        for name in ("client_tokens", "pending_groups"):
            given[name] = tuple(str(each) for each in given.get(name) or ())
        return cls(**given)

    def newer(self, **changed: t.Any) -> Intent:
        """The same round, one step further."""
        return dataclasses.replace(self, serial=self.serial + 1, **changed)


def folder_of(reports_dir: str) -> str:
    """Where the intents of a search are."""
    return os.path.join(os.path.abspath(reports_dir), FOLDER)


def path_of(reports_dir: str, round_id: str) -> str:
    """The file of a round."""
    return os.path.join(folder_of(reports_dir), f"{round_id}.json")


def report_path(reports_dir: str, round_id: str) -> str:
    """Where it is told what became of an interrupted round."""
    return os.path.join(os.path.abspath(reports_dir), f"interrupted_{round_id}.json")


def write_intent(reports_dir: str, intent: Intent) -> None:
    """Put the intent on the disk. Raises OSError."""
    os.makedirs(folder_of(reports_dir), mode=0o755, exist_ok=True)
    write_whole(path_of(reports_dir, intent.round_id), json.dumps(intent.to_dict(), indent=2) + "\n")


def remove_intent(reports_dir: str, round_id: str) -> None:
    """The round has ended."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(reports_dir, round_id))


def read_intent(reports_dir: str, round_id: str) -> Intent | None:
    """The intent of a round, or None when there is none. Raises IntentUnreadable."""
    try:
        with open(path_of(reports_dir, round_id), encoding="utf-8") as file:
            return Intent.from_dict(json.load(file))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise IntentUnreadable(f"{path_of(reports_dir, round_id)}: {error}") from error


def open_intents(reports_dir: str, complain: t.Callable[[str], None]) -> Iterator[Intent]:
    """Every intent that is there, by name. What cannot be read is complained of and left."""
    try:
        names = sorted(os.listdir(folder_of(reports_dir)))
    except FileNotFoundError:
        return
    for name in names:
        round_id, dot, ending = name.rpartition(".")
        if not dot or ending != "json" or name.startswith("."):
            continue
        try:
            intent = read_intent(reports_dir, round_id)
        except IntentUnreadable as error:
            complain(f"left as it is: {error}")
            continue
        if intent is not None:
            yield intent
