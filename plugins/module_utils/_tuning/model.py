# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of tuning: knob, setting, reading, result. Plain values, no input or output.

A *knob* is an entry of the catalogue. On a given machine it resolves to a *setting*, the values that are wanted there,
or is skipped with a reason. A *means* reads what the machine has (a *reading*), and turns it. An item is one thing that
a knob turns there: a sysctl's name, a file of /sys, an interrupt, a parameter of the kernel's command line.
"""

from __future__ import annotations

import dataclasses
import typing as t

GROUPS = ("cpu", "boot", "memory", "network", "nic", "disk", "time", "services", "limits", "kernel_bypass")
FAMILIES = ("intel", "amd", "graviton", "other")
RISKS = ("low", "medium", "high")

#: What a knob's result says.
APPLIED = "applied"  # changed by this run (in check mode: would be changed), and read back
ALREADY = "already"  # the running kernel and what persists are as wanted
PENDING_REBOOT = "pending_reboot"  # persisted; the running kernel takes it with the next boot
UNSUPPORTED = "unsupported"  # this machine has no such thing, or the knob does not apply; the reason says why
DRIFTED = "drifted"  # (verify) not as wanted, in the running kernel or in what persists
FAILED = "failed"  # could not be applied, or the kernel did not take it; the reason says why
STATUSES = (APPLIED, ALREADY, PENDING_REBOOT, UNSUPPORTED, DRIFTED, FAILED)

#: When the running kernel takes a knob: at once, or with the next boot.
NOW = "now"
BOOT = "boot"


class TuningError(Exception):
    """Base of what this package raises on purpose; the message is one clear sentence for a person."""


class InvalidInput(TuningError):
    """The wish cannot be met (unknown knob, contradiction, no CPU left ...). Raised before anything is written."""


class Refused(TuningError):
    """This machine must not be tuned: a container, a lab namespace, an unsupported distribution, a read-only /sys."""


class KnobFailed(TuningError):
    """One knob could not be turned. The others go on."""


@dataclasses.dataclass(frozen=True)
class Knob:
    """One entry of the catalogue. Nothing in here depends on a machine.

    value: what is wanted, as a template with {names} of the machine's figures (see resolve.py), for all CPU families,
    or per family with "default" for the others. A family that has no value does not have the knob.
    verify: further files of the running kernel that prove that it took the knob, as (path, template) pairs; a file's
    bracketed word counts where it lists choices.
    applies_if: names of conditions (conditions.py) that all must hold; each gives the reason when it does not.
    """

    id: str
    group: str
    means: str
    target: str
    value: str | t.Mapping[str, str]
    summary: str
    source: str
    risk: str = "low"
    enabled: bool = True
    effect: str = NOW
    applies_if: tuple[str, ...] = ()
    verify: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Setting:
    """A knob on one machine: the wanted value of its template, and the proofs, with all names filled in."""

    knob: Knob
    value: str
    verify: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        return self.knob.id


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A knob that this machine does not get, and why."""

    knob: Knob
    reason: str


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a machine has of a setting.

    running and wanted: item to value, in the running kernel; wanted has the value that the setting means for each item
    (clamped to what the device allows). persisted: whether the next boot brings what is wanted. unsupported: why this
    machine has no such thing, else empty. note: what a person should know, such as a clamped value. restless: another
    program moves these values within what is allowed, so that they need not be what was written a moment ago.
    """

    running: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    wanted: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    persisted: bool = False
    unsupported: str = ""
    note: str = ""
    restless: bool = False

    @property
    def runs(self) -> bool:
        """Whether the running kernel is as wanted."""
        return all(self.running.get(item) == value for item, value in self.wanted.items())


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a knob. before and after: item to value."""

    id: str
    group: str
    status: str
    reason: str = ""
    before: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    after: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        return {**dataclasses.asdict(self), "before": dict(self.before), "after": dict(self.after)}
