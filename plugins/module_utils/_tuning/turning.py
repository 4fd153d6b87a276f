# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hands of the engine: look at settings, turn them, turn them back, keep the store in step.

Every step can be the last one of a run that is killed. So the store is written first: what is about to be touched, and
what it was. It says that a setting is kept only after its files are written. The next run finds what is not kept and
completes it, and an absent turns it back.

A knob that fails is turned back at once and leaves the files, so that the next boot does not repeat what went wrong.
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import decide, saved
from .decide import Look
from .facts import CpuPlan, Facts
from .host import Host
from .model import FAILED, KnobFailed, Reading, Result, Setting
from .registry import BOOT_STAGES, LATE, MEANS
from .saved import Entry, Store


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run works on. has_unit: whether the boot units were there when it began."""

    host: Host
    facts: Facts
    plan: CpuPlan
    boot_id: str
    has_unit: bool


def look_all(machine: Machine, settings: t.Iterable[Setting], lasts: t.Callable[[Setting], bool]) -> dict[str, Look]:
    """What the machine has of each setting, by id. lasts: whether the boot units will bring a setting of theirs."""
    with machine.host.remembering():
        return {setting.id: _look(machine, setting, lasts(setting)) for setting in settings}


def lasts_by(store: Store, machine: Machine) -> t.Callable[[Setting], bool]:
    """Whether the boot units, as they and the store are, bring a setting with each boot."""

    def lasts(setting: Setting) -> bool:
        entry = store.entries.get(setting.id)
        return machine.has_unit and entry is not None and entry.kept and entry.setting == saved.bare(setting)

    return lasts


def _look(machine: Machine, setting: Setting, lasts: bool) -> Look:
    host, means = machine.host, MEANS.get(setting.knob.means)
    if means is None:
        return Look(Reading(), error=f"there is no means {setting.knob.means!r}")
    try:
        reading = means.read(host, machine.facts, setting)
        proofs = () if reading.unsupported else tuple(_proofs(host, setting))
    except (KnobFailed, OSError) as error:
        return Look(Reading(), error=f"it cannot be read: {error}")
    if setting.knob.means in BOOT_STAGES and not lasts:
        reading = dataclasses.replace(reading, persisted=False)
    return Look(reading, proofs)


def _proofs(host: Host, setting: Setting) -> t.Iterator[tuple[str, str, str | None]]:
    for pattern, wanted in setting.verify:
        for path in host.glob(pattern) or [pattern]:
            yield path, wanted, host.read(path)


def turn(
    machine: Machine,
    store: Store,
    settings: t.Sequence[Setting],
    before: t.Mapping[str, Look],
) -> tuple[list[Result], Store]:
    """Turn the settings, persist them and read them back. Returns their results, and the store as it was saved."""
    host = machine.host
    store = store.put({setting.id: _begun(setting, before[setting.id], store) for setting in settings})
    saved.save(host, store)
    errors: dict[str, str] = {}
    for setting in settings:
        error = _tried(MEANS[setting.knob.means].apply, host, machine.facts, setting)
        if error:
            errors[setting.id] = error
    good = [setting for setting in settings if setting.id not in errors]
    finished = store.put({setting.id: _kept(setting, store, machine) for setting in good})
    finished = finished.put({id_: dataclasses.replace(finished.entries[id_], kept=False) for id_ in errors})
    failed_means = _persist(machine, finished, {setting.knob.means for setting in settings})
    errors.update({each.id: failed_means[each.knob.means] for each in good if each.knob.means in failed_means})
    after = look_all(machine, settings, lambda setting: True)
    results = [
        decide.turned(setting, before[setting.id], after[setting.id], errors.get(setting.id, ""))
        for setting in settings
    ]
    failed = [result.id for result in results if result.status == FAILED]
    if failed:
        finished, reasons = _undo(machine, finished, failed)
        results = [_with_reason(result, reasons.get(result.id, "")) for result in results]
    saved.save(host, finished)
    return results, finished


def _begun(setting: Setting, look: Look, store: Store) -> Entry:
    """The entry of a knob that is about to be turned. One that is kept stays so as it was until the new one is."""
    entry = store.entries.get(setting.id)
    if entry is None:
        return Entry(saved.bare(setting), decide.original(look, None))
    return dataclasses.replace(entry, original=decide.original(look, entry))


def _kept(setting: Setting, store: Store, machine: Machine) -> Entry:
    return Entry(saved.bare(setting), store.entries[setting.id].original, True, machine.boot_id)


def _undo(machine: Machine, store: Store, ids: t.Sequence[str]) -> tuple[Store, dict[str, str]]:
    """Turn back knobs that failed. What cannot be turned back stays in the store, not kept. Returns why, by id."""
    entries = {id_: dataclasses.replace(store.entries[id_], kept=False) for id_ in ids}
    store = store.put(entries)
    reasons: dict[str, str] = {}
    for id_, entry in entries.items():
        reasons[id_] = _restore(machine, entry)
    failed_means = _persist(machine, store, {entry.setting.knob.means for entry in entries.values()})
    for id_, entry in entries.items():
        reasons[id_] = reasons[id_] or failed_means.get(entry.setting.knob.means, "")
    return store.drop([id_ for id_, reason in reasons.items() if not reason]), reasons


def _with_reason(result: Result, reason: str) -> Result:
    if result.status != FAILED:
        return result
    end = f"and it could not be turned back: {reason}" if reason else "it was turned back"
    return dataclasses.replace(result, reason=f"{result.reason}; {end}")


def turn_back(
    machine: Machine, store: Store, ids: t.Sequence[str], before: t.Mapping[str, Look]
) -> tuple[list[Result], Store]:
    """Turn knobs back to what they were on first contact. Returns their results, and the store as it was saved."""
    # Interrupts come last, after irqbalance, which would move them again while it still has our list.
    ids = sorted(ids, key=lambda id_: BOOT_STAGES.get(store.entries[id_].setting.knob.means) == LATE)
    entries = {id_: dataclasses.replace(store.entries[id_], kept=False) for id_ in ids}
    store = store.put(entries)
    saved.save(machine.host, store)
    errors = {id_: _restore(machine, entry) for id_, entry in entries.items()}
    failed_means = _persist(machine, store, {entry.setting.knob.means for entry in entries.values()})
    after = look_all(machine, [entry.setting for entry in entries.values()], lambda setting: False)
    results = [
        decide.restored(entry, before[id_], after[id_], errors[id_] or failed_means.get(entry.setting.knob.means, ""))
        for id_, entry in entries.items()
    ]
    store = store.drop([result.id for result in results if result.status != FAILED])
    saved.save(machine.host, store)
    return results, store


def apply_again(machine: Machine, settings: t.Sequence[Setting]) -> list[Result]:
    """At a boot: turn the running kernel to settings that are kept, where it differs. Writes no file of ours."""
    before = look_all(machine, settings, lambda setting: True)
    errors: dict[str, str] = {}
    for setting in settings:
        look = before[setting.id]
        if not look.error and not look.reading.unsupported and not look.reading.runs:
            means = MEANS[setting.knob.means]
            errors[setting.id] = _tried(means.apply, machine.host, machine.facts, setting)
    after = look_all(machine, [setting for setting in settings if setting.id in errors], lambda setting: True)
    return [
        decide.turned(setting, before[setting.id], after[setting.id], errors[setting.id])
        if setting.id in errors
        else decide.verified(setting, before[setting.id], booted_since=True, wrong=FAILED)
        for setting in settings
    ]


def _restore(machine: Machine, entry: Entry) -> str:
    means = MEANS.get(entry.setting.knob.means)
    if means is None:
        return f"there is no means {entry.setting.knob.means!r}"
    return _tried(means.restore, machine.host, machine.facts, entry.setting, entry.original)


def _persist(machine: Machine, store: Store, names: t.Collection[str]) -> dict[str, str]:
    """Let means write their files for what the store says is kept. Returns why one could not, by means."""
    errors: dict[str, str] = {}
    for name in sorted(set(names) & set(MEANS)):
        means = MEANS[name]
        error = _tried(means.persist, machine.host, machine.facts, store.kept(name))
        if error:
            errors[name] = f"it does not last: {error}"
    return errors


def _tried(act: t.Callable[..., None], *arguments: t.Any) -> str:
    """Why an act on the machine failed; empty when it did not."""
    try:
        act(*arguments)
    except (KnobFailed, OSError) as error:
        return str(error) or type(error).__name__
    return ""
