# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(nic): what the network interface of the default route does with packets.

Targets are those of nic_ethtool.py (C(ring.rx), C(coalesce.rx-usecs), C(feature.gro), C(channels.combined) ...) and
of nic_queues.py (C(rps), C(xps), C(gro_flush_timeout) ...). An item is a target with the interface's name before it,
or a file of /sys. Changing rings or channels stops the interface for a moment, so nothing is asked of a device that
has it already.
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting
from . import nic_ethtool, nic_link, nic_queues


class Nic:
    """See the module's description, and means/__init__.py for what each method promises."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        interface, target = facts.interface, setting.knob.target
        if not interface or not host.exists(f"/sys/class/net/{interface}"):
            return Reading(unsupported="no network interface of a real device was found")
        if nic_queues.handles(target):
            return _read_queues(host, facts, setting)
        if not nic_ethtool.handles(target):
            raise KnobFailed(f"nic has no target {target!r}")
        shown = nic_ethtool.show(host, interface, target)
        value, note = "", ""
        if shown.value:
            value, note = nic_ethtool.wanted(target, setting.value, shown, facts.driver)
        # What a device has fixed at the wanted value is as wanted; fixed at another, it cannot be had.
        if shown.unsupported and not (value and shown.value == value):
            return Reading(unsupported=shown.unsupported)
        item = f"{interface} {target}"
        kept = nic_link.kept(host, interface, setting)
        return Reading(running={item: shown.value}, wanted={item: value}, persisted=kept, note=note)

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        reading = self.read(host, facts, setting)
        if reading.unsupported:
            raise KnobFailed(reading.unsupported)
        if nic_queues.handles(setting.knob.target):
            nic_queues.turn(host, setting.knob.target, reading.wanted)
        elif not reading.runs:
            (value,) = reading.wanted.values()
            nic_ethtool.change(host, facts.interface, setting.knob.target, value)

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        nic_link.keep(host, facts.interface, settings)

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        target = setting.knob.target
        if nic_queues.handles(target):
            nic_queues.turn(host, target, original)
            return
        for item, value in original.items():
            interface = item.partition(" ")[0]
            shown = nic_ethtool.show(host, interface, target)
            if not shown.value or shown.unsupported or shown.value == value:
                continue
            # A device that adapts its delay again (coalesce.adaptive-rx was turned back before this) needs no number.
            if shown.value != nic_ethtool.ADAPTIVE:
                nic_ethtool.change(host, interface, target, value)


def _read_queues(host: Host, facts: Facts, setting: Setting) -> Reading:
    running = nic_queues.running(host, facts.interface, setting.knob.target)
    if not running:
        return Reading(unsupported=f"{facts.interface} has no {setting.knob.target} here")
    wanted = nic_queues.wanted(facts, setting.knob.target, setting.value, running)
    kept = nic_link.kept(host, facts.interface, setting)
    return Reading(running=running, wanted=wanted, persisted=kept)
