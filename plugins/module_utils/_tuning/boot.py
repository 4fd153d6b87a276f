# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs at every boot: settings that no file brings back, and the plan for a machine of another size.

C(early) comes before the network and all services. It turns what must be turned anew, and where the machine is another
than the one that was planned for (an image launched on another size, a new kernel), it plans anew, and reboots once if
the kernel's command line has to change. C(late) comes with the network, for what exists only then (interrupts).

A reboot loop is impossible: a boot that follows a reboot of ours never reboots, whatever it finds, and what was tried
for a machine, a kernel and a command line is not tried again before it was seen to work. Both stand in
C(paths.BOOT_RECORD), which is on the disk before the reboot is asked for; where it cannot be written, there is none.
A boot never fails because of this: the unit does, with its reason in the journal, and the machine comes up.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import traceback
import typing as t

from . import saved
from .facts import Facts
from .host import Host
from .machine import gather
from .model import FAILED, Result, TuningError
from .paths import BOOT_RECORD

EARLY = "early"
LATE = "late"
STAGES = (EARLY, LATE)

_SCHEMA_VERSION = 1
_MOST_TRIED = 32
_SETTLE_S = 30

#: systemctl is-system-running, while the machine boots.
_BOOTING = ("initializing", "starting")

#: On the command line of somebody who mends the machine by hand.
_BY_HAND = {
    "single",
    "s",
    "S",
    "1",
    "rescue",
    "emergency",
    "systemd.unit=rescue.target",
    "systemd.unit=emergency.target",
}

# Priorities of sd-daemon(3), which the journal takes from the beginning of a line.
_ERROR = "<3>"
_WARNING = "<4>"
_INFO = "<6>"


class Outcome(t.Protocol):
    """What boot.py needs to know of the engine's outcome."""

    @property
    def results(self) -> t.Sequence[Result]: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def reboot_required(self) -> bool: ...


#: The engine's C(reapply).
Reapply = t.Callable[[Host, str], Outcome]


@dataclasses.dataclass(frozen=True)
class Try:
    """A reboot of ours: the machine it was for, and the parameters that it was to bring."""

    machine: str
    kernel: str
    line: str
    at: str = ""

    def same(self, other: Try) -> bool:
        return (self.machine, self.kernel, self.line) == (other.machine, other.kernel, other.line)


@dataclasses.dataclass(frozen=True)
class Record:
    """What boots did.

    boot_id, kernel: of the last one. rebooted: whether we ended it. planning: it began to plan anew; where it was cut
    off, the next one goes on. tried: reboots of ours that were not seen to work yet.
    """

    boot_id: str = ""
    kernel: str = ""
    rebooted: bool = False
    planning: bool = False
    tried: tuple[Try, ...] = ()
    readable: bool = True


@dataclasses.dataclass(frozen=True)
class Boot:
    """A boot after its settings were applied.

    wanted: what the kernel ought to run with here. moved: the machine is another than the one that was planned for.
    pending: the kernel lacks some of what is wanted, or has what is wanted no more. booting: the machine still comes up
    (and nobody ran this by hand). by_hand: somebody chose a rescue mode.
    """

    boot_id: str
    wanted: Try
    moved: bool
    pending: bool
    booting: bool
    by_hand: bool = False


class Decision(t.NamedTuple):
    """Whether to reboot, and why (not)."""

    reboot: bool
    reason: str


def decide(record: Record, boot: Boot) -> Decision:
    """Whether this boot ends with a reboot. Pure; the order of the refusals is that of their weight."""
    if not boot.pending:
        return Decision(False, "the kernel runs with the command line that is wanted")
    refusals = (
        (record.rebooted, "the machine was rebooted for it just now, and the boot loader did not bring it"),
        (not record.readable, f"{BOOT_RECORD} cannot be read, so nobody knows whether it was tried before"),
        (any(each.same(boot.wanted) for each in record.tried), "a reboot for it was tried before and did not bring it"),
        (not boot.booting, "this is not the machine's start"),
        (boot.by_hand, "the machine was started in a rescue mode"),
        (
            not boot.moved and record.kernel in ("", boot.wanted.kernel),
            "the machine and its kernel are those that it was set up for, so the boot loader was told otherwise",
        ),
    )
    for holds, reason in refusals:
        if holds:
            return Decision(False, f"the kernel's command line is not as wanted, and there is no reboot: {reason}")
    return Decision(True, "the machine is not the one that was planned for: it reboots once for the new command line")


def follow(record: Record, boot: Boot, decision: Decision) -> Record:
    """The record after a boot. What was tried is forgotten when it was seen to work."""
    tried = [each for each in record.tried if boot.pending or not each.same(boot.wanted)]
    if decision.reboot:
        tried.append(boot.wanted)
    return Record(boot.boot_id, boot.wanted.kernel, decision.reboot, tried=tuple(tried[-_MOST_TRIED:]))


def load(host: Host) -> Record:
    """The record of this machine, or of the one that its image was made from."""
    if not host.exists(BOOT_RECORD):
        return Record()
    try:
        document = json.loads(host.read(BOOT_RECORD) or "")
        return Record(
            str(document["boot_id"]),
            str(document["kernel"]),
            bool(document["rebooted"]),
            bool(document["planning"]),
            tuple(Try(**each) for each in document["tried"]),
        )
    except (ValueError, KeyError, TypeError):
        return Record(readable=False)


def save(host: Host, record: Record, reason: str, results: t.Iterable[Result] = ()) -> None:
    """Write the record, with what a person may want to know of the boot."""
    document = {
        "schema_version": _SCHEMA_VERSION,
        "boot_id": record.boot_id,
        "kernel": record.kernel,
        "rebooted": record.rebooted,
        "planning": record.planning,
        "tried": [dataclasses.asdict(each) for each in record.tried],
        "reason": reason,
        "failed": {result.id: result.reason for result in results if result.status == FAILED},
    }
    host.write(BOOT_RECORD, json.dumps(document, indent=1, sort_keys=True) + "\n", mode=0o600)


def early(host: Host, reapply: Reapply) -> int:
    """The stage before the network. Returns the unit's exit code."""
    record = load(host)
    boot_id = saved.boot_id(host)
    if boot_id and record.boot_id == boot_id:
        # Run by hand a second time: the first run of this boot has decided, and its record must stand.
        return _report(reapply(host, EARLY).results)
    store = saved.load(host)
    if store is None:
        say(_INFO, "nothing is tuned on this machine")
        return 0
    moved = record.planning or dict(store.planned_for) != saved.planned_for(gather(host))
    if moved and record.readable:
        save(host, dataclasses.replace(record, planning=True), "the machine is not the one that was planned for")
    outcome = reapply(host, EARLY)
    boot = Boot(
        boot_id=boot_id,
        wanted=wanted(host, outcome.facts),
        moved=moved,
        pending=outcome.reboot_required,
        booting=host.run(["systemctl", "is-system-running"]).output.strip() in _BOOTING,
        by_hand=bool(_BY_HAND & set((host.read("/proc/cmdline") or "").split())),
    )
    decision = decide(record, boot)
    save(host, follow(record, boot, decision), decision.reason, outcome.results)
    say(_WARNING if boot.pending else _INFO, decision.reason)
    if decision.reboot:
        host.check("systemctl", "--no-block", "reboot")
    return _report(outcome.results)


def late(host: Host, reapply: Reapply) -> int:
    """The stage when the network is there. Returns the unit's exit code."""
    return _report(reapply(host, LATE).results)


def wanted(host: Host, facts: Facts) -> Try:
    """The machine, its kernel, and the parameters that its store wants on the command line."""
    store = saved.load(host)
    settings = store.kept("cmdline") if store else []
    line = " ".join(sorted(f"{setting.knob.target}={setting.value}" for setting in settings))
    machine = json.dumps(saved.planned_for(facts), sort_keys=True)
    return Try(machine, facts.kernel, line, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _report(results: t.Sequence[Result]) -> int:
    """Write what was done to the journal. A failed knob fails the unit, so that it shows, and nothing else."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
        if result.status == FAILED:
            say(_ERROR, f"{result.id}: {result.reason}")
    say(_INFO, ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to apply")
    return 1 if FAILED in counts else 0


def say(priority: str, text: str) -> None:
    """A line in the journal, where the unit's standard error goes."""
    for line in text.splitlines():
        sys.stderr.write(f"{priority}{line}\n")


def main(arguments: t.Sequence[str]) -> int:
    """Run a stage. Whatever goes wrong becomes a line in the journal and an exit code."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        say(_ERROR, f"usage: boot {'|'.join(STAGES)}")
        return 2
    host = Host()
    try:
        # Here and not above: the engine installs the boot unit, which holds this file.
        from .engine import reapply  # noqa: PLC0415

        settled = host.run(["udevadm", "settle", f"--timeout={_SETTLE_S}"])
        if settled.code != 0:
            say(_WARNING, f"some devices did not settle within {_SETTLE_S} s")
        return early(host, reapply) if arguments[0] == EARLY else late(host, reapply)
    except TuningError as error:
        say(_ERROR, str(error))
    except Exception:
        say(_ERROR, traceback.format_exc())
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
