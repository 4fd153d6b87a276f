# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(block): the request queue of every whole disk of a real device.

target: an attribute of /sys/block/<disk>/queue. The next boot brings it by a udev rule that names kinds of disks, not
disks, so that it fits an image's next machine and a disk that is attached later.
"""

from __future__ import annotations

import re
import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting
from ..paths import UDEV_DISK_RULES

_HEADER = "# Kept by lowlatency.ec2 (os_tuning).\n"
#: NVMe namespaces, Xen, virtio and SCSI disks. DEVTYPE leaves their partitions out.
_MATCH = (
    'ACTION!="remove", SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", '
    'KERNEL=="nvme[0-9]*n[0-9]*|xvd[a-z]*|vd[a-z]*|sd[a-z]*"'
)


class Block:
    """See the module's description, and means/__init__.py for what each method promises. Items: paths of files."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        attribute = setting.knob.target
        running: dict[str, str] = {}
        wanted: dict[str, str] = {}
        notes: list[str] = []
        for disk in facts.disks:
            path = _path(disk, attribute)
            text = host.read(path)
            if text is None:
                continue
            value, note = _fitting(host, disk, setting, text)
            notes += [f"{disk}: {note}"] if note else []
            if value:
                running[path] = _said(text)
                wanted[path] = value
        if not wanted:
            return Reading(unsupported=_nothing(facts, attribute, notes))
        kept = _line(setting) in (host.read(UDEV_DISK_RULES) or "").splitlines()
        return Reading(running=running, wanted=wanted, persisted=kept, note="; ".join(notes))

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        reading = self.read(host, facts, setting)
        if reading.unsupported:
            raise KnobFailed(reading.unsupported)
        _turn(host, reading.wanted)

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        if settings:
            # A scheduler brings its own nr_requests, so it comes first.
            lines = sorted({_line(setting) for setting in settings}, key=lambda line: ("scheduler" not in line, line))
            changed = host.write(UDEV_DISK_RULES, _HEADER + "".join(f"{line}\n" for line in lines))
        else:
            changed = host.remove(UDEV_DISK_RULES)
        if changed:
            host.check("udevadm", "control", "--reload")

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        _turn(host, original)


def _turn(host: Host, values: t.Mapping[str, str]) -> None:
    for path, value in values.items():
        text = host.read(path)
        if text is not None and _said(text) != value:
            host.poke(path, value)


def _path(disk: str, attribute: str) -> str:
    return f"/sys/block/{disk}/queue/{attribute}"


def _line(setting: Setting) -> str:
    return f'{_MATCH}, ATTR{{queue/{setting.knob.target}}}="{setting.value}"'


def _said(text: str) -> str:
    """What a file of the queue says: the bracketed word where it lists choices."""
    chosen = re.search(r"\[(\S+)\]", text)
    return chosen[1] if chosen else text.strip()


def _fitting(host: Host, disk: str, setting: Setting, text: str) -> tuple[str, str]:
    """The value that this disk can take, empty if none, and what a person should know."""
    if "[" in text and setting.value not in text.replace("[", " ").replace("]", " ").split():
        return "", f"offers no {setting.knob.target} {setting.value} ({text.strip()})"
    if setting.knob.target == "nr_requests":
        # Without a scheduler the queue is the device's own, and the kernel refuses a deeper one (EINVAL).
        scheduler = _said(host.read(_path(disk, "scheduler")) or "none")
        if scheduler == "none" and setting.value.isdigit() and int(setting.value) > int(text):
            return text.strip(), f"its queue has {text.strip()} requests, and {setting.value} are wanted"
    return setting.value, ""


def _nothing(facts: Facts, attribute: str, notes: t.Sequence[str]) -> str:
    if notes:
        return "; ".join(notes)
    return f"no disk here has the attribute {attribute}" if facts.disks else "no disk of a real device was found"
