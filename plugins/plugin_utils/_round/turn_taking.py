# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: two hosts that probe the same addresses in alternation, each by one process for all of its turns."""

from __future__ import annotations

import contextlib
import shlex
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.paired import PAIRS, pair_order, turn_times_s
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import (
    LOOK_S,
    CandidateHost,
    Result,
    RunningModule,
    StepFailed,
)

MODULE = "lowlatency.ec2.latency_probe_turns"

#: Seconds before the first turn, in which both hosts are given the module.
LEAD_S = 4.0

#: Seconds after each pair, in which both hosts are asked for it, so that no turn is disturbed by that.
LOOKING_S = 0.3

#: Seconds that a turn may be late before it is given up, and that a host may take to end.
PATIENCE_S = 30.0


class BrokeOff(Exception):
    """One of the two could not be measured."""

    def __init__(self, who: str, error: Exception) -> None:
        super().__init__(str(error))
        code = error.code if isinstance(error, StepFailed) else "ConnectionLost"
        self.failure = {"who": who, "code": code, "message": str(error)}


class TurnTaking:
    """Two hosts, by C(champion) and C(newcomer), that take turns for as long as the context lasts.

    The controller's end (ControllerGone) ends nothing on the hosts: they end by themselves after their last turn.
    """

    def __init__(
        self,
        hosts: Mapping[str, CandidateHost],
        probe: Mapping[str, t.Any],
        *,
        turn_s: float,
        path: str,
        check: Callable[[], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """C(path) is where both keep their files, before an ending; C(check) is called now and then and may raise."""
        self._hosts = hosts
        self._probe = dict(probe)
        self._pair_s = 2 * turn_s + LOOKING_S
        self._turn_s = turn_s
        self._path = path
        self._stop_path = f"{path}.stop"
        self._check = check
        self._pause = pause
        self._running: dict[str, RunningModule] = {}
        self._first_s = 0.0

    def __enter__(self) -> TurnTaking:
        offsets_s = {who: self._asked(who, host.clock_ahead_s) for who, host in self._hosts.items()}
        self._first_s = time.time() + LEAD_S
        times_s = turn_times_s(self._first_s, self._turn_s, self._pair_s)
        try:
            for who, offset_s in offsets_s.items():
                turns = [round(at_s + offset_s, 3) for at_s in times_s[who]]
                self._running[who] = self._asked(who, self._start, who, turns)
        except BrokeOff:
            self._end_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _where: object) -> None:
        if kind is None or issubclass(kind, BrokeOff):
            self._end_all()

    def _end_all(self) -> None:
        """Let neither begin another turn, and then remove what they wrote.

        What was measured stands whether or not this comes to pass, and a host ends its turns by itself.
        """
        for step in (self._stop, self._clear):
            for who in self._running:
                with contextlib.suppress(AnsibleConnectionFailure, StepFailed):
                    step(who)

    def pairs(self) -> Iterator[dict[str, Result]]:
        """The turns pair by pair, as they are made: what each of the two measured. Raises BrokeOff."""
        for number in range(PAIRS):
            self._wait_until(self._first_s + (number + 1) * self._pair_s - LOOKING_S)
            yield {who: self._turn(who, number) for who in pair_order(number)}

    def _start(self, who: str, turns: list[float]) -> RunningModule:
        paths = {"progress_path": f"{self._path}.json", "stop_path": self._stop_path}
        timeout_s = int(LEAD_S + PAIRS * self._pair_s + PATIENCE_S)
        return self._hosts[who].start(
            MODULE,
            {"probe": self._probe, "turns": turns, **paths},
            timeout_s,
            progress_path=paths["progress_path"],
            step="confirm",
        )

    def _stop(self, who: str) -> None:
        self._hosts[who].command(f"touch {shlex.quote(self._stop_path)}")

    def _clear(self, who: str) -> None:
        waited_s = 0.0
        try:
            while self._running[who].look()[1] is None and waited_s <= PATIENCE_S:
                self._pause(LOOK_S)
                waited_s += LOOK_S
        finally:
            self._running[who].clear(self._stop_path)

    def _turn(self, who: str, number: int) -> Result:
        """One turn of a host; waits for it when it is late. Raises BrokeOff."""
        waited_s = 0.0
        while waited_s <= PATIENCE_S:
            self._check()
            shown, found = self._asked(who, self._running[who].look)
            turns = (found or shown or {}).get("turns") or []
            if len(turns) > number:
                return dict(turns[number])
            if found is not None:
                break
            self._pause(LOOK_S)
            waited_s += LOOK_S
        why = f"turn {number + 1} of {PAIRS} was not made"
        raise BrokeOff(who, StepFailed("confirm", "TurnMissed", why))

    def _wait_until(self, due_s: float) -> None:
        left_s = due_s - time.time()
        while left_s > 0:
            self._check()
            self._pause(min(left_s, LOOK_S))
            left_s -= LOOK_S

    def _asked(self, who: str, ask: Callable[..., t.Any], *given: t.Any) -> t.Any:
        self._check()
        try:
            return ask(*given)
        except (AnsibleConnectionFailure, StepFailed) as error:
            raise BrokeOff(who, error) from error
