# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: probe the sitting champion and the newcomer again, in alternation, before one replaces the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t
from collections.abc import Iterator, Mapping

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import needs_confirmation, next_champion
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.paired import (
    PAIRS,
    addresses_to_compare,
    compare,
    differences_us,
    pair_order,
    paired_figures,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import CandidateHost, Result, StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.probing import (
    short_probe_options,
    short_samples,
    turn_s,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.recovery import ALIVE, take_out
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.turn_taking import BrokeOff, TurnTaking

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round

LOCK_NAME = ".confirm.lock"

#: Champions that a newcomer is compared with at most, should others be promoted meanwhile.
TRIES = 3

#: Seconds that a slot waits for its turn at the champion, and between two looks whether it has come.
TURN_S, TURN_LOOK_S = 900.0, 0.5


class Confirmation:
    """The paired comparison of a round. Without C(search_confirm) it does nothing."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        self._tries = 0
        self._holds_turn = False

    @contextlib.contextmanager
    def settled(self, result: Result) -> Iterator[None]:
        """Compare if the verdict hangs on it, and keep the champion's turn for as long as the context lasts.

        One slot compares and promotes at a time: two that probe the champion at once would measure each other.
        """
        if not self.needed(result):
            yield
            return
        with self._turn():
            # Another slot may have promoted while this one waited.
            self._round.refresh(result)
            self.settle(result)
            yield

    def needed(self, result: Result) -> bool:
        """Whether the candidate would replace a champion that it was not compared with yet."""
        return needs_confirmation(
            outcome=result["outcome"],
            probe=result["probe"],
            champion_before=result["champion_before"],
            limits=result["limits"],
            instance_id=(result["candidate"] or {}).get("instance_id"),
            confirm=result["confirm"],
        )

    def settle(self, result: Result) -> None:
        """Compare with the champion that sits; fills C(confirm) and reads the document again.

        A champion that is provably gone leaves the document. After TRIES champions no further one is compared with,
        and the verdict then refuses the promotion.
        """
        with self._turn():
            while self._tries < TRIES and self.needed(result):
                self._tries += 1
                with self._round.timed("confirm_s"):
                    self._compare(result)
                self._round.refresh(result)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._holds_turn:
            yield
            return
        path = os.path.join(self._round.options.reports_dir, LOCK_NAME)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait_for(lock)
            self._holds_turn = True
            yield
        finally:
            self._holds_turn = False
            os.close(lock)

    def _wait_for(self, lock: int) -> None:
        """Wait for the lock; after TURN_S go on without it: a comparison that is disturbed promotes nobody."""
        deadline = time.monotonic() + TURN_S
        while time.monotonic() < deadline:
            self._round.guard.check()
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._round.pause(TURN_LOOK_S)

    def _compare(self, result: Result) -> None:
        """Fill C(confirm); a champion that is gone is taken out of the document instead."""
        champion = result["champion_before"]
        found = self._blank(result, champion)
        began_s = time.monotonic()
        try:
            standing = self._standing(champion)
            if standing is None:
                take_out(self._round, [champion["instance_id"]])
                return
            self._round.say(f"comparing with the champion {champion['instance_id']}, in turn")
            self._measure(result, found, standing)
            found["outcome"] = "measured"
        except BrokeOff as error:
            found["failure"] = error.failure
        found["duration_s"] = round(time.monotonic() - began_s, 3)
        judged = compare(differences_us(found))
        found.update(
            won=judged.won,
            difference_us=judged.difference_us,
            low_us=judged.low_us,
            high_us=judged.high_us,
            error_rate=judged.error_rate,
        )
        result["confirm"] = found

    def _blank(self, result: Result, champion: Mapping[str, t.Any]) -> Result:
        options, limits = self._round.options, result["limits"]
        newcomer = next_champion(
            candidate=result["candidate"],
            probe=result["probe"],
            limits=limits,
            round_id=result["round_id"],
            since=result["timestamp"],
        )
        return {
            "champion": champion["instance_id"],
            "newcomer": newcomer["instance_id"],
            "outcome": "broke_off",
            "failure": None,
            "endpoint": limits["primary_endpoint"],
            "metric": limits["metric"],
            "statistic": limits["statistic"],
            "samples": short_samples(options),
            "addresses": addresses_to_compare(champion, newcomer, limits["primary_endpoint"]),
            "pairs_planned": PAIRS,
            "pairs": [],
            "handshakes": 0,
        }

    def _standing(self, champion: Mapping[str, t.Any]) -> Result | None:
        """The champion as EC2 shows it, None when it is gone for good."""
        try:
            found = self._round.modules.run(
                "lowlatency.ec2.candidate_instance_info", "find_champion", instance_ids=[champion["instance_id"]]
            )
        except StepFailed as error:
            raise BrokeOff("champion", error) from error
        standing = next((each for each in found["candidates"] if each["instance_id"] == champion["instance_id"]), None)
        if standing is None or standing["state"] not in ALIVE | {"unknown"}:
            return None
        if standing["state"] != "running":
            why = f"{champion['instance_id']} is {standing['state']}"
            raise BrokeOff("champion", StepFailed("confirm", "ChampionNotRunning", why))
        return dict(standing)

    def _measure(self, result: Result, found: Result, standing: Mapping[str, t.Any]) -> None:
        newcomer = self._round.host
        if newcomer is None:
            raise BrokeOff("newcomer", StepFailed("confirm", "NoConnection", "the candidate is not connected"))
        try:
            key = result["champion_before"].get("host_key")
            champion = self._round.access.reach_champion({**standing, "host_key": key})
        except (AnsibleConnectionFailure, StepFailed) as error:
            raise BrokeOff("champion", error) from error
        try:
            with self._taking_turns(result, found, {"champion": champion, "newcomer": newcomer}) as turns:
                self._count_pairs(found, turns)
        finally:
            champion.close()

    def _taking_turns(self, result: Result, found: Result, hosts: Mapping[str, CandidateHost]) -> TurnTaking:
        options = self._round.options
        return TurnTaking(
            hosts,
            short_probe_options(options, found["addresses"]),
            turn_s=turn_s(options, found["addresses"], result["probe"]),
            path=f"/tmp/{self._round.labels.round_id}-{found['champion']}",  # noqa: S108 # on the instances
            check=self._round.guard.check,
            pause=self._round.pause,
        )

    def _count_pairs(self, found: Result, turns: TurnTaking) -> None:
        terms = {key: found[key] for key in ("endpoint", "metric", "statistic", "samples")}
        for number, probes in enumerate(turns.pairs()):
            found["handshakes"] += sum(int(probe.get("handshakes") or 0) for probe in probes.values())
            found["pairs"].append({"first": pair_order(number)[0], **paired_figures(probes, **terms)})
            judged = compare(differences_us(found))
            self._round.say(f"compared {judged.pairs} of {PAIRS} times, lower in {judged.won}")
            if judged.decided:
                return
