# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was wished for a machine, what was turned there, and what it was before: one document.

It lies at C(paths.STORE): C({schema_version, wish, planned_for, settings: {id: ...}, originals: {id: {item: value}}}).
It is written whole or not at all, and before what it tells of is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
import typing as t

from .cpu_plan import compact
from .facts import Facts
from .host import Host
from .model import NOW, Knob, Setting, TuningError
from .paths import STATE, STORE
from .wishes import Wish

SCHEMA_VERSION = 1

_LOCK_PATIENCE_S = 120
_LOCK_PAUSE_S = 0.2


@dataclasses.dataclass(frozen=True)
class Entry:
    """A knob that was touched on this machine.

    original: what its items were on first contact. kept: whether files and boot units bring the setting with each boot;
    a knob that is not kept is on its way: a run was stopped, or could not turn it back. boot_id: the boot in which it
    was last persisted, so that a later boot that did not bring it is told from one that is still to come.
    """

    setting: Setting
    original: t.Mapping[str, str]
    kept: bool = False
    boot_id: str = ""


@dataclasses.dataclass(frozen=True)
class Store:
    """The document. planned_for: what the CPU plan and the figures were made from (see C(planned_for))."""

    wish: Wish = dataclasses.field(default_factory=Wish)
    planned_for: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    entries: t.Mapping[str, Entry] = dataclasses.field(default_factory=dict)

    def kept(self, means: str) -> list[Setting]:
        """The settings of a means that are kept, sorted, so that files do not depend on the order of runs."""
        kept = [entry.setting for entry in self.entries.values() if entry.kept and entry.setting.knob.means == means]
        return sorted(kept, key=lambda setting: setting.id)

    def put(self, entries: t.Mapping[str, Entry]) -> Store:
        return dataclasses.replace(self, entries={**self.entries, **entries})

    def drop(self, ids: t.Collection[str]) -> Store:
        left = {id_: entry for id_, entry in self.entries.items() if id_ not in ids}
        return dataclasses.replace(self, entries=left)


def planned_for(facts: Facts) -> dict[str, str]:
    """What a plan depends on. It differs where an image was launched on another size, and the plan is made anew then.

    Memory is rounded to 256 MiB: what a kernel keeps for itself varies a little from boot to boot.
    """
    nodes: dict[int, list[str]] = {}
    node_of = {cpu.number: cpu.node for cpu in facts.topology.cpus}
    for core, numbers in facts.topology.cores.items():
        nodes.setdefault(node_of.get(core, 0), []).append(compact(numbers))
    return {
        "cpus": "; ".join(f"node {node}: {' | '.join(cores)}" for node, cores in sorted(nodes.items())),
        "memory_mib": str(round(facts.memory_kib / 1024 / 256) * 256),
        "family": facts.family,
    }


def bare(setting: Setting) -> Setting:
    """A setting with what it takes to turn it, and without what only a person reads."""
    knob = setting.knob
    kept = Knob(knob.id, knob.group, knob.means, knob.target, setting.value, "", "", effect=knob.effect)
    return Setting(kept, setting.value, setting.verify)


def load(host: Host) -> Store | None:
    """The machine's document; none when it was never tuned. Raises TuningError for one that cannot be read."""
    if not host.exists(STORE):
        return None
    text = host.read(STORE)
    if text is None:
        raise TuningError(f"{STORE}, which holds what this machine was before it was tuned, cannot be read")
    try:
        document = json.loads(text)
        version = document["schema_version"]
        if version == SCHEMA_VERSION:
            return _store(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TuningError(
            f"{STORE} is damaged ({type(error).__name__}: {error}), and nothing was changed. It holds what this "
            "machine was before: bring it back from a copy, or move it away to start anew from what is there now."
        ) from error
    raise TuningError(
        f"{STORE} has the schema version {version!r}, and this collection knows {SCHEMA_VERSION}. Nothing was changed: "
        "use the version of lowlatency.ec2 that tuned this machine, or a newer one."
    )


def save(host: Host, store: Store) -> bool:
    """Write the document. Tells whether it changed."""
    return host.write(STORE, json.dumps(_document(store), indent=1, sort_keys=True) + "\n", mode=0o600)


def remove(host: Host) -> bool:
    """Remove the document, and its folder when nothing else is in it. Tells whether it was there."""
    there = host.remove(STORE)
    host.remove_folder(STATE)
    return there


@contextlib.contextmanager
def locked(host: Host) -> t.Iterator[None]:
    """One run at a time tunes a machine. Raises TuningError when another does not end within two minutes.

    The lock is on the root folder, so that it leaves no file behind; the kernel gives it back when a run is killed.
    """
    descriptor = os.open(host.path("/"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + _LOCK_PATIENCE_S
        while not _lock(descriptor):
            if time.monotonic() > end:
                raise TuningError("another run is tuning this machine and does not end")
            time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def boot_id(host: Host) -> str:
    """What tells this boot of the machine from every other."""
    return host.read("/proc/sys/kernel/random/boot_id") or ""


def _document(store: Store) -> dict[str, t.Any]:
    settings = {
        id_: {**_setting_document(entry.setting), "kept": entry.kept, "boot_id": entry.boot_id}
        for id_, entry in store.entries.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "wish": wish_document(store.wish),
        "planned_for": dict(store.planned_for),
        "settings": settings,
        "originals": {id_: dict(entry.original) for id_, entry in store.entries.items()},
    }


def _setting_document(setting: Setting) -> dict[str, t.Any]:
    knob = setting.knob
    return {
        "group": knob.group,
        "means": knob.means,
        "target": knob.target,
        "value": setting.value,
        "effect": knob.effect,
        "verify": [list(proof) for proof in setting.verify],
    }


def wish_document(wish: Wish) -> dict[str, t.Any]:
    """A wish as plain values, ready for JSON."""
    return {
        "groups": list(wish.groups),
        "knobs": dict(wish.knobs),
        "extra_knobs": [dataclasses.asdict(knob) for knob in wish.extra_knobs],
        "housekeeping": wish.housekeeping,
        "parameters": dict(wish.parameters),
    }


def _store(document: t.Mapping[str, t.Any]) -> Store:
    originals = document["originals"]
    entries = {
        id_: Entry(_setting(id_, each), dict(originals[id_]), bool(each["kept"]), str(each["boot_id"]))
        for id_, each in document["settings"].items()
    }
    wish = document["wish"]
    return Store(
        Wish(
            groups=tuple(wish["groups"]),
            knobs=dict(wish["knobs"]),
            extra_knobs=tuple(knob_of(each) for each in wish["extra_knobs"]),
            housekeeping=wish["housekeeping"],
            parameters=dict(wish["parameters"]),
        ),
        dict(document["planned_for"]),
        entries,
    )


def _setting(id_: str, each: t.Mapping[str, t.Any]) -> Setting:
    knob = Knob(id_, each["group"], each["means"], each["target"], each["value"], "", "", effect=each["effect"])
    return Setting(knob, each["value"], _pairs(each["verify"]))


def knob_of(each: t.Mapping[str, t.Any]) -> Knob:
    """A knob from plain values, such as an option or the document has them. Raises KeyError or TypeError."""
    return Knob(
        id=each["id"],
        group=each["group"],
        means=each["means"],
        target=each["target"],
        value=each["value"] if isinstance(each["value"], str) else dict(each["value"]),
        summary=each.get("summary") or "",
        source=each.get("source") or "",
        risk=each.get("risk") or "low",
        enabled=each.get("enabled") is not False,
        effect=each.get("effect") or NOW,
        applies_if=tuple(each.get("applies_if") or ()),
        verify=_pairs(each.get("verify") or ()),
    )


def _pairs(proofs: t.Iterable[t.Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((path, text) for path, text in proofs)
