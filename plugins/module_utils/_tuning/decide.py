# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done with a knob, and what became of it: pure functions of settings, readings and entries."""

from __future__ import annotations

import dataclasses
import typing as t

from .means.sysfs import chosen, same
from .model import (
    ALREADY,
    APPLIED,
    BOOT,
    DRIFTED,
    FAILED,
    PENDING_REBOOT,
    UNSUPPORTED,
    Knob,
    Reading,
    Result,
    Setting,
    Skipped,
)
from .saved import Entry, bare

#: What a diff shows of a value that was right, and only did not last.
LASTS = "(kept over a reboot)"

_MOST_ITEMS_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Look:
    """All that was seen of a setting. proofs: (path, wanted, what the kernel's file says, or none); error: why nothing
    could be seen.
    """

    reading: Reading
    proofs: tuple[tuple[str, str, str | None], ...] = ()
    error: str = ""

    @property
    def unproved(self) -> str:
        """How the kernel's own files contradict, in a sentence; empty when they agree."""
        wrong = [
            f"{path} is not there" if said is None else f"{path} says {chosen(said)!r}, not {wanted!r}"
            for path, wanted, said in self.proofs
            if said is None or not same(path, chosen(said), chosen(wanted))
        ]
        return f"the kernel did not take it: {_some(wrong)}" if wrong else ""


def to_turn(setting: Setting, look: Look, entry: Entry | None) -> bool:
    """Whether a run has anything to do for a setting.

    Nothing is to do where the machine already has it by itself: such a knob is not made ours. One that an interrupted
    run began is taken over, also when it looks finished.
    """
    if look.error or look.reading.unsupported:
        return False
    if entry is not None and (not entry.kept or entry.setting != bare(setting)):
        return True
    return not _done(setting, look)


def moved(setting: Setting, entry: Entry | None) -> bool:
    """Whether a knob came to mean another thing since it was turned: the old one is then restored first."""
    if entry is None:
        return False
    old, new = entry.setting.knob, setting.knob
    return (old.means, old.target) != (new.means, new.target)


def original(look: Look, entry: Entry | None) -> dict[str, str]:
    """What to turn back to: what was there on first contact, for each item.

    An item that came later, such as a new device's, is as on first contact only where it is not yet as wanted.
    """
    running = look.reading.running
    if entry is None:
        return dict(running)
    later = {item: value for item, value in running.items() if value != look.reading.wanted.get(item)}
    return {**later, **entry.original}


def verified(setting: Setting, look: Look, booted_since: bool, wrong: str = DRIFTED) -> Result:
    """The result of only looking. booted_since: whether the machine booted after it was persisted.

    wrong: the status of what is not as wanted; FAILED where a run had a say in it.
    """
    reading = look.reading
    if reading.unsupported:
        return Result(setting.id, setting.knob.group, UNSUPPORTED, reading.unsupported)
    trouble = look.error or _trouble(setting, look, booted_since)
    if trouble:
        return _result(setting, wrong, _join(trouble, reading.note), look)
    if reading.runs:
        return _result(setting, ALREADY, reading.note, look)
    return _result(setting, PENDING_REBOOT, reading.note, look, reading.wanted)


def _trouble(setting: Setting, look: Look, booted_since: bool) -> str:
    """What is not as wanted, and is not merely waiting for the next boot; empty when nothing is."""
    reading = look.reading
    if reading.runs:
        return look.unproved or ("" if reading.persisted else "it runs, and the next boot would not bring it")
    if setting.knob.effect != BOOT or not reading.persisted:
        return _differences(reading)
    if not booted_since:
        return ""
    return f"the machine booted since it was persisted, and the kernel does not have it: {_differences(reading)}"


def turned(setting: Setting, before: Look, after: Look, error: str = "") -> Result:
    """The result of turning a knob. error: why it could not be turned or persisted."""
    if error:
        return _result(setting, FAILED, error, before, after.reading.running)
    seen = verified(setting, after, booted_since=False, wrong=FAILED)
    if seen.status == UNSUPPORTED:
        return _result(setting, FAILED, f"it was there before it was turned: {seen.reason}", before, {})
    status = APPLIED if seen.status == ALREADY and not _done(setting, before) else seen.status
    return _result(setting, status, seen.reason, before, seen.after)


def expected(setting: Setting, before: Look) -> Result:
    """What turning a knob would give, for check mode."""
    reading = dataclasses.replace(before.reading, persisted=True)
    if setting.knob.effect != BOOT:
        reading = dataclasses.replace(reading, running={**reading.running, **reading.wanted})
    proofs = before.proofs if before.reading.runs else ()
    return turned(setting, before, Look(reading, proofs))


def restored(entry: Entry, before: Look, after: Look, error: str = "") -> Result:
    """The result of turning a knob back to what it was on first contact."""
    setting, knob = entry.setting, entry.setting.knob
    if error:
        return _result(setting, FAILED, f"it was not turned back: {error}", before, after.reading.running)
    if after.error or after.reading.unsupported:
        return _result(setting, APPLIED, "turned back", before, {})
    unlike = [] if after.reading.restless else _unlike_original(entry, after.reading)
    if knob.effect == BOOT and (unlike or (after.reading.runs and not after.reading.persisted)):
        status, reason = PENDING_REBOOT, "turned back; the running kernel has it until the next boot"
    elif unlike:
        return _result(setting, FAILED, f"it was not turned back: {_some(unlike)}", before, after.reading.running)
    else:
        status, reason = APPLIED, "turned back to what it was"
    was = {item: entry.original[item] for item in sorted(before.reading.wanted) if item in entry.original}
    return Result(knob.id, knob.group, status, reason, _relevant(before.reading), was)


def expected_back(entry: Entry, before: Look) -> Result:
    """What turning a knob back would give, for check mode."""
    reading = dataclasses.replace(before.reading, persisted=False)
    if entry.setting.knob.effect != BOOT:
        running = {item: entry.original.get(item, value) for item, value in before.reading.running.items()}
        reading = dataclasses.replace(reading, running=running)
    return restored(entry, before, dataclasses.replace(before, reading=reading))


def passed_over(skipped: Skipped) -> Result:
    """The result of a knob that this machine does not get."""
    knob: Knob = skipped.knob
    return Result(knob.id, knob.group, UNSUPPORTED, skipped.reason)


def difference(results: t.Iterable[Result]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """What the runs' changes show as a diff: (before, after), each knob to item to value, sorted."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for result in sorted(results, key=lambda each: each.id):
        changed = sorted(
            item for item in {*result.before, *result.after} if result.before.get(item) != result.after.get(item)
        )
        if changed:
            before[result.id] = {item: result.before[item] for item in changed if item in result.before}
            after[result.id] = {item: result.after[item] for item in changed if item in result.after}
        else:
            before[result.id], after[result.id] = {LASTS: "no"}, {LASTS: "yes"}
    return before, after


def _done(setting: Setting, look: Look) -> bool:
    return look.reading.persisted and (look.reading.runs or setting.knob.effect == BOOT)


def _unlike_original(entry: Entry, reading: Reading) -> list[str]:
    """The items that are not as on first contact. One that is gone since is left out, as is one that came since."""
    items = set(entry.original) & set(reading.running)
    if entry.setting.knob.effect == BOOT:
        items |= set(reading.wanted)
    return [
        f"{item} is {reading.running.get(item, 'not there')!s}, not {entry.original.get(item, 'not there')!s}"
        for item in sorted(items)
        if reading.running.get(item) != entry.original.get(item)
    ]


def _differences(reading: Reading) -> str:
    return _some(
        [
            f"{item} is {reading.running.get(item, 'not set')!s}, not {value or 'set'}"
            for item, value in sorted(reading.wanted.items())
            if reading.running.get(item) != value
        ]
    )


def _some(sentences: t.Sequence[str]) -> str:
    more = len(sentences) - _MOST_ITEMS_NAMED
    return "; ".join(sentences[:_MOST_ITEMS_NAMED]) + (f" (and {more} more)" if more > 0 else "")


def _join(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _relevant(reading: Reading) -> dict[str, str]:
    """What runs, of the items that the knob is about."""
    return {item: reading.running[item] for item in sorted(reading.wanted) if item in reading.running}


def _result(
    setting: Setting, status: str, reason: str, before: Look, after: t.Mapping[str, str] | None = None
) -> Result:
    items = sorted(before.reading.wanted)
    now = before.reading.running if after is None else after
    return Result(
        setting.id,
        setting.knob.group,
        status,
        reason,
        _relevant(before.reading),
        {item: now[item] for item in items if item in now},
    )
