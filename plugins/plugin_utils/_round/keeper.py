# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: keeps a round's intents on the disk and with its guardian, and finishes what dead owners left."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import TracebackType

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import launch_plan, ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap_plan import is_past
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import (
    Intent,
    folder_of,
    open_intents,
    remove_intent,
    report_path,
    write_intent,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import locked
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.guardian import HAND_OVER_S, Guardian, Guardians
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.open_rounds import BOARD

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round


class Keeper:
    """Keeps the intents of one round. As a context it holds from the first change in AWS to the round's end.

    A round that ends by an error is handed over to the guardian, which finishes or undoes it at once; one that ends
    because its controller has gone, or in any other way, does nothing more and leaves it to the guardian.
    """

    def __init__(self, round_: Round, guardians: Guardians | None) -> None:
        self._round = round_
        self._guardians = guardians
        self._guardian: Guardian | None = None
        self._reports_dir = round_.options.reports_dir
        self._unfinished = False
        tags = round_.labels.tags("candidate")
        self.intent = Intent(
            round_id=round_.labels.round_id,
            search_id=round_.options.search_id,
            slot=round_.slot,
            owner=round_.owner,
            group=round_.group,
            expires_at=tags["lowlatency:expires-at"],
            began_at=round_.now.isoformat(timespec="seconds"),
            pending_groups=tuple(round_.memory.pending_groups),
            connect=round_.options.connect,
        )

    def __enter__(self) -> Keeper:
        self._round.guard.check()
        self._write()
        BOARD.open(report_path(self._reports_dir, self.intent.round_id))
        if self._guardians is not None:
            self._guardian = self._start(self._guardians)
            try:
                self.note("group", guardian=self._guardian.owner)
            except StepFailed:
                self._ended()
                raise
        return self

    def note(self, step: str, **facts: t.Any) -> None:
        """Write down what comes next, before it is done. Raises StepFailed, and ControllerGone before it."""
        self._round.guard.check()
        self.intent = self.intent.newer(step=step, **facts)
        self._tell()
        self._write()

    def note_if_possible(self, step: str, **facts: t.Any) -> None:
        """The same for what puts something away: a full disk must not keep a candidate alive."""
        try:
            self.note(step, **facts)
        except StepFailed as error:
            self._round.say(error.message)

    def launching(self, instance_types: t.Iterable[str], market: str) -> None:
        """A launch of any of these types comes next."""
        round_id = self.intent.round_id
        tokens = tuple(launch_plan.client_token(round_id, name, market, 0) for name in instance_types)
        self.note("launch", client_tokens=tokens)

    def leave_unfinished(self) -> None:
        """Something could not be put away: the intent stays for the next run, however the round ends."""
        self._unfinished = True

    def _tell(self) -> None:
        if self._guardian is None or self._guardians is None:
            return
        try:
            self._guardian.tell(self.intent)
        except OSError:
            # It is gone: a round goes no step without one.
            self._guardian = self._start(self._guardians)
            self.intent = self.intent.newer(guardian=self._guardian.owner)

    def _start(self, guardians: Guardians) -> Guardian:
        try:
            return guardians.watch(self.intent)
        except OSError as error:
            raise StepFailed("guardian", "NoGuardian", f"no guardian could be started: {error.strerror}") from error

    def _write(self) -> None:
        try:
            write_intent(self._reports_dir, self.intent)
        except OSError as error:
            why = f"search_reports_dir: what comes next cannot be written down: {error.strerror}"
            raise StepFailed("intent", "NotWritten", why) from error

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._ended()
        elif issubclass(kind, Exception) and not issubclass(kind, ControllerGone) and self._guardian is not None:
            self._round.say("the round broke off; its guardian puts it away")
            self._guardian.hand_over()
            BOARD.close(report_path(self._reports_dir, self.intent.round_id))
            self._round.say(f"what became of it: {report_path(self._reports_dir, self.intent.round_id)}")

    def _ended(self) -> None:
        self._round.guard.check()
        if not self._unfinished:
            remove_intent(self._reports_dir, self.intent.round_id)
        if self._guardian is not None:
            self._guardian.goodbye()
        BOARD.close(report_path(self._reports_dir, self.intent.round_id))


def finish_interrupted(round_: Round, guardians: Guardians | None) -> None:
    """Finish what rounds of dead owners have left, one after the other, once for all slots."""
    if guardians is None or not any(True for _each in open_intents(round_.options.reports_dir, round_.say)):
        return
    with locked(folder_of(round_.options.reports_dir)):
        for intent in open_intents(round_.options.reports_dir, round_.say):
            if is_over(intent):
                _finish(round_, guardians, intent)


def is_over(intent: Intent, judge: Callable[[str | None], str] | None = None) -> bool:
    """Whether nobody works at this round any more: its owner is gone, or nothing is known of it and its time is up."""
    state = (judge or judge_owner)(intent.owner)
    if state != ownership.UNKNOWN:
        return state == ownership.GONE
    return is_past(intent.expires_at, datetime.now(timezone.utc))


def judge_owner(text: str | None) -> str:
    """What is known of an owner of this machine."""
    return ownership.judge_owner(ownership.parse_owner(text), ownership.machine_name(), ownership.start_ticks)


def _finish(round_: Round, guardians: Guardians, intent: Intent) -> None:
    until_s = time.monotonic() + HAND_OVER_S
    while judge_owner(intent.guardian) == ownership.ALIVE and time.monotonic() < until_s:
        round_.guard.check()
        time.sleep(0.25)
    if not any(each.round_id == intent.round_id for each in open_intents(round_.options.reports_dir, round_.say)):
        return
    round_.guard.check()
    told = guardians.finish(intent)
    for line in describe(told):
        round_.say(f"left by round {intent.round_id}: {line}")


def describe(report: Mapping[str, t.Any] | None) -> list[str]:
    """What was done and left, a line each."""
    if report is None:
        return ["no report was written"]
    left = [f"{each['kind']} {each['id']} is left: {each['why']}" for each in report["left"]]
    return [*report["did"], *left, *([report["failure"]] if report["failure"] else [])]
