# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done with a knob and what became of it, for every reading that there can be."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import decide
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.decide import Look
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import (
    BOOT,
    NOW,
    STATUSES,
    Knob,
    Reading,
    Result,
    Setting,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.saved import Entry, bare
from support.recorded import recorded_setting

ISOLATED = "/sys/devices/system/cpu/isolated"


def setting(effect: str = NOW, value: str = "2-5", target: str = "a") -> Setting:
    return Setting(Knob("k", "boot", "cmdline", target, "{isolated}", "A knob.", "here", effect=effect), value)


def look(
    running: str | None = "2-5",
    persisted: bool = True,
    said: str | None = "2-5",
    unsupported: str = "",
    error: str = "",
) -> Look:
    reading = Reading({} if running is None else {"a": running}, {"a": "2-5"}, persisted, unsupported, "a note")
    return Look(reading, ((ISOLATED, "2-5", said),), error)


@pytest.mark.parametrize(
    ("effect", "seen", "booted", "status", "reason"),
    [
        (NOW, look(), False, "already", "a note"),
        (BOOT, look(), True, "already", "a note"),
        (NOW, look("1"), False, "drifted", "a is 1, not 2-5; a note"),
        (NOW, look(None), False, "drifted", "a is not set, not 2-5; a note"),
        (NOW, look(persisted=False), False, "drifted", "it runs, and the next boot would not bring it; a note"),
        (BOOT, look(None), False, "pending_reboot", "a note"),
        (
            BOOT,
            look(None),
            True,
            "drifted",
            "the machine booted since it was persisted, and the kernel does not have it",
        ),
        (BOOT, look(None, persisted=False), False, "drifted", "a is not set, not 2-5"),
        (BOOT, look(said=""), True, "drifted", f"the kernel did not take it: {ISOLATED} says '', not '2-5'"),
        (BOOT, look(said=None), False, "drifted", f"the kernel did not take it: {ISOLATED} is not there"),
        (NOW, look(unsupported="no such thing"), False, "unsupported", "no such thing"),
        (NOW, look(error="EIO"), False, "drifted", "EIO"),
    ],
)
def test_what_is_seen(effect: str, seen: Look, booted: bool, status: str, reason: str) -> None:
    result = decide.verified(setting(effect), seen, booted)
    assert result.status == status
    assert result.reason.startswith(reason)


def looks() -> list[Look]:
    states = itertools.product((None, "1", "2-5"), (True, False), (None, "", "2-5"), ("", "gone"), ("", "EIO"))
    return [look(*state) for state in states]


@pytest.mark.parametrize("effect", [NOW, BOOT])
def test_only_what_runs_lasts_and_is_proved_is_already(effect: str) -> None:
    for seen in looks():
        result = decide.verified(setting(effect), seen, booted_since=False)
        assert result.status in STATUSES
        fine = seen.reading.runs and seen.reading.persisted and not seen.unproved
        assert (result.status == "already") == (fine and not seen.error and not seen.reading.unsupported)
        if result.status in ("drifted", "failed", "unsupported"):
            assert result.reason


@pytest.mark.parametrize("effect", [NOW, BOOT])
def test_what_was_turned_well_is_not_to_be_turned_again(effect: str) -> None:
    for before, after in itertools.product(looks(), looks()):
        result = decide.turned(setting(effect), before, after)
        assert result.status in ("applied", "already", "pending_reboot", "failed")
        if result.status != "failed":
            kept = Entry(bare(setting(effect)), {}, kept=True)
            assert not decide.to_turn(setting(effect), after, kept)


@pytest.mark.parametrize("effect", [NOW, BOOT])
def test_check_mode_expects_what_a_machine_that_obeys_gives(effect: str) -> None:
    for before in looks():
        if not decide.to_turn(setting(effect), before, None) or not before.proofs:
            continue
        runs = before.reading.runs or effect == NOW
        after = look("2-5" if runs else t.cast(str, before.reading.running.get("a")), True, before.proofs[0][2])
        if runs and not before.reading.runs:
            after = look("2-5", True, "2-5")
        done = decide.turned(setting(effect), before, after)
        assert decide.expected(setting(effect), before) == done


def test_an_error_is_a_failure_whatever_is_seen() -> None:
    for before, after in itertools.product(looks(), looks()):
        result = decide.turned(setting(), before, after, "EINVAL")
        assert (result.status, result.reason) == ("failed", "EINVAL")


@pytest.mark.parametrize(
    ("seen", "entry", "turn"),
    [
        (look(), None, False),
        (look("1"), None, True),
        (look(persisted=False), None, True),
        (look(), Entry(bare(setting()), {}, kept=True), False),
        (look(), Entry(bare(setting()), {}, kept=False), True),
        (look(), Entry(bare(setting(value="3")), {}, kept=True), True),
        (look(unsupported="no"), Entry(bare(setting()), {}), False),
        (look(error="EIO"), None, False),
    ],
)
def test_what_is_to_be_turned(seen: Look, entry: Entry | None, turn: bool) -> None:
    assert decide.to_turn(setting(), seen, entry) == turn


def test_a_boot_knob_that_is_persisted_waits_without_being_turned() -> None:
    assert not decide.to_turn(setting(BOOT), look(None), None)
    assert decide.to_turn(setting(BOOT), look("2-5", persisted=False), None)


def test_a_knob_that_came_to_mean_another_thing_is_told() -> None:
    assert decide.moved(setting(target="b"), Entry(bare(setting()), {}))
    assert not decide.moved(setting(value="7"), Entry(bare(setting()), {}))
    assert not decide.moved(setting(), None)


def test_originals_are_of_first_contact_and_items_that_came_later_count_while_untouched() -> None:
    seen = Look(Reading({"a": "2-5", "b": "0", "c": "2-5"}, {"a": "2-5", "b": "2-5", "c": "2-5"}))
    assert decide.original(seen, None) == {"a": "2-5", "b": "0", "c": "2-5"}
    assert decide.original(seen, Entry(bare(setting()), {"a": "0"})) == {"a": "0", "b": "0"}


@pytest.mark.parametrize(
    ("effect", "original", "after", "error", "status"),
    [
        (NOW, {"a": "1"}, look("1"), "", "applied"),
        (NOW, {"a": "1"}, look("2-5"), "", "failed"),
        (NOW, {"a": "1"}, look("1"), "EIO", "failed"),
        (NOW, {"a": "1"}, look(None), "", "applied"),
        (NOW, {"a": "1"}, look(unsupported="the device is gone"), "", "applied"),
        (BOOT, {}, look("2-5", persisted=False), "", "pending_reboot"),
        (BOOT, {}, look(None, persisted=False), "", "applied"),
        (BOOT, {"a": "2-5"}, look("2-5", persisted=False), "", "pending_reboot"),
        (BOOT, {"a": "2-5"}, look("2-5", persisted=True), "", "applied"),
        (BOOT, {"a": "1"}, look("2-5", persisted=True), "", "pending_reboot"),
    ],
)
def test_what_became_of_turning_back(
    effect: str, original: dict[str, str], after: Look, error: str, status: str
) -> None:
    entry = Entry(bare(setting(effect)), original)
    assert decide.restored(entry, look(), after, error).status == status


def test_proofs_compare_as_the_kernel_writes() -> None:
    def unproved(path: str, wanted: str, said: str) -> bool:
        return bool(Look(Reading(), ((path, wanted, said),)).unproved)

    assert not unproved("/sys/kernel/mm/transparent_hugepage/enabled", "never", "always madvise [never]")
    assert unproved("/sys/kernel/mm/transparent_hugepage/enabled", "never", "always [madvise] never")
    assert not unproved("/sys/devices/virtual/workqueue/cpumask", "f", "00000000,0000000f")
    assert unproved("/sys/devices/virtual/workqueue/cpumask", "f", "00000001,0000000f")


def test_a_diff_is_sorted_and_has_no_more_than_the_changes() -> None:
    results = [
        Result("z", "g", "applied", "", {"b": "1", "a": "1", "c": "1"}, {"b": "2", "a": "2", "c": "1"}),
        Result("y", "g", "applied", "", {"a": "1"}, {"a": "1"}),
        Result("x", "g", "pending_reboot", "", {}, {"a": "1"}),
    ]
    before, after = decide.difference(results)
    assert list(before) == ["x", "y", "z"] and list(before["z"]) == ["a", "b"]
    assert (before["x"], after["x"]) == ({}, {"a": "1"})
    assert (before["y"], after["y"]) == ({decide.LASTS: "no"}, {decide.LASTS: "yes"})


def test_what_another_program_moves_is_turned_back_when_it_was_written() -> None:
    """irqbalance deals interrupts out anew; that one is elsewhere a moment later says nothing of the way back."""
    setting = recorded_setting("irq", "nic", "0-1")
    entry = Entry(setting, {"irq 24 (eth0)": "0"}, kept=False)
    before = Look(Reading(running={"irq 24 (eth0)": "1"}, wanted={"irq 24 (eth0)": "1"}))
    for restless, status in ((True, "applied"), (False, "failed")):
        after = Look(Reading(running={"irq 24 (eth0)": "3"}, wanted={"irq 24 (eth0)": "0-1"}, restless=restless))
        assert decide.restored(entry, before, after).status == status
