# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tuning a machine as a whole: present, absent, verify and boots, over the files of a machine that boots."""

from __future__ import annotations

import dataclasses
import errno
import json
import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import boot_unit, engine
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.engine import Wish
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import (
    InvalidInput,
    Knob,
    Refused,
    Result,
    TuningError,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import PACKAGE, STORE
from support.tunable import Killed, Tunable

GROUPS = ("cpu", "boot", "memory", "network")
WISH = Wish(groups=GROUPS)
THP = "/sys/kernel/mm/transparent_hugepage/enabled"


@pytest.fixture(autouse=True)
def few_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the boot units have three files in place of the whole package, which has tests of its own."""
    sources = {f"{PACKAGE}/{name}.py": f"# {name}\n" for name in ("__init__", "boot", "means/__init__")}
    monkeypatch.setattr(boot_unit, "sources", lambda: sources)


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Tunable:
    return Tunable(tmp_path)


def by_id(outcome: engine.Outcome) -> dict[str, Result]:
    found = {result.id: result for result in outcome.results}
    assert len(found) == len(outcome.results), "each knob has one result"
    return found


def statuses(outcome: engine.Outcome) -> dict[str, str]:
    return {result.id: result.status for result in outcome.results}


def test_three_knobs_from_first_contact_over_a_reboot_to_absent(host: Tunable) -> None:
    wish = Wish(groups=("boot", "memory", "network"), knobs={"swappiness": False})
    before = host.tree()
    first = engine.present(host, wish)
    results = by_id(first)
    assert (results["isolcpus"].status, results["thp"].status, results["busy_poll"].status) == (
        "pending_reboot",
        "applied",
        "applied",
    )
    assert first.changed and first.reboot_required
    assert first.after["isolcpus"] == {"isolcpus": "managed_irq,domain,2-5"}
    assert first.before["busy_poll"] == {"net.core.busy_poll": "0"}
    assert first.after["busy_poll"] == {"net.core.busy_poll": "50"}
    assert host.read(THP) == "always madvise [never]"
    assert host.read("/proc/sys/vm/swappiness") == "60"
    host.forget()
    again = engine.present(host, wish)
    assert not again.changed and again.reboot_required
    assert (host.writes, host.removed) == ([], [])
    assert (again.before, again.after) == ({}, {})
    host.boot()
    assert host.read("/sys/devices/system/cpu/isolated") == "2-5"
    seen = engine.verify(host)
    assert set(statuses(seen).values()) <= {"already", "unsupported"}
    assert statuses(seen)["isolcpus"] == "already"
    host.forget()
    third = engine.present(host, wish)
    assert (third.changed, third.reboot_required, host.writes) == (False, False, [])
    back = engine.absent(host)
    assert statuses(back)["isolcpus"] == "pending_reboot" and back.reboot_required and back.changed
    assert statuses(back)["busy_poll"] == "applied"
    host.boot()
    after = host.tree()
    assert {path for path in after if before.get(path) != after[path]} == {"proc/sys/kernel/random/boot_id"}
    assert set(after) == set(before)
    host.forget()
    assert not engine.absent(host).changed
    assert (host.writes, host.removed) == ([], [])


def test_check_mode_says_what_a_run_does_and_writes_nothing(host: Tunable) -> None:
    before = host.tree()
    expected = engine.present(host, WISH, check=True)
    assert host.tree() == before
    done = engine.present(host, WISH)
    assert expected.results == done.results
    assert (expected.changed, expected.before, expected.after) == (done.changed, done.before, done.after)
    other = dataclasses.replace(WISH, knobs={"busy_poll": "70", "swappiness": False, "isolcpus": False})
    host.boot()
    between = host.tree()
    expected = engine.present(host, other, check=True)
    assert host.tree() == between
    done = engine.present(host, other)
    assert expected.results == done.results
    assert (expected.changed, expected.before, expected.after) == (done.changed, done.before, done.after)
    between = host.tree()
    expected = engine.absent(host, check=True)
    assert host.tree() == between
    done = engine.absent(host)
    assert expected.results == done.results
    assert (expected.before, expected.after) == (done.before, done.after)


def test_a_diff_has_the_changes_alone(host: Tunable) -> None:
    engine.present(host, WISH)
    host.poke("/proc/sys/net/core/busy_poll", "7\n")
    outcome = engine.present(host, WISH)
    assert outcome.before == {"busy_poll": {"net.core.busy_poll": "7"}}
    assert outcome.after == {"busy_poll": {"net.core.busy_poll": "50"}}
    assert [result.id for result in outcome.results if result.status == "applied"] == ["busy_poll"]


def test_what_only_does_not_last_is_a_change_too(host: Tunable) -> None:
    engine.present(host, WISH)
    host.remove("/etc/sysctl.d/99-zz-lowlatency.conf")
    assert statuses(engine.verify(host))["busy_poll"] == "drifted"
    outcome = engine.present(host, WISH)
    assert outcome.changed
    assert outcome.after["busy_poll"] == {"(kept over a reboot)": "yes"}
    assert statuses(engine.verify(host))["busy_poll"] == "already"


def changes_of(tmp_path: pathlib.Path) -> int:
    host = Tunable(tmp_path / "counted")
    engine.present(host, WISH)
    return host.changes_made


@pytest.mark.parametrize("inside", [False, True])
def test_a_run_that_is_killed_anywhere_is_completed_or_turned_back(tmp_path: pathlib.Path, inside: bool) -> None:
    total = changes_of(tmp_path)
    assert total > 20
    wanted = Tunable(tmp_path / "wanted")
    original = wanted.tree()
    engine.present(wanted, WISH)
    tuned = wanted.tree()
    for at in range(total):
        for turned_back in (False, True):
            host = Tunable(tmp_path / f"{at}-{turned_back}")
            host.kill_at, host.killed_in_files = at, inside
            with pytest.raises(Killed):
                engine.present(host, WISH)
            host.kill_at = None
            if turned_back:
                engine.absent(host)
                assert host.tree() == original, f"killed at change {at}"
            else:
                engine.present(host, WISH)
                assert host.tree() == tuned, f"killed at change {at}"
                assert not engine.present(host, WISH).changed


@pytest.mark.parametrize("inside", [False, True])
def test_an_absent_that_is_killed_anywhere_is_completed(tmp_path: pathlib.Path, inside: bool) -> None:
    wish = dataclasses.replace(WISH, groups=("boot", "memory"))
    host = Tunable(tmp_path / "counted")
    original = host.tree()
    engine.present(host, wish)
    made = host.changes_made
    engine.absent(host)
    assert host.tree() == original
    for at in range(host.changes_made - made):
        host = Tunable(tmp_path / str(at))
        engine.present(host, wish)
        host.kill_at, host.killed_in_files = host.changes_made + at, inside
        with pytest.raises(Killed):
            engine.absent(host)
        host.kill_at = None
        engine.absent(host)
        assert host.tree() == original, f"killed at change {at}"


def test_a_killed_run_boots_and_the_boot_applies_nothing_that_is_not_kept(host: Tunable) -> None:
    host.kill_at = 4
    with pytest.raises(Killed):
        engine.present(host, WISH)
    host.kill_at = None
    host.boot()
    seen = engine.verify(host)
    assert statuses(seen)["thp"] == "drifted"
    engine.present(host, WISH)
    host.boot()
    assert set(statuses(engine.verify(host)).values()) <= {"already", "unsupported"}


def test_groups_are_tuned_and_turned_back_by_themselves(host: Tunable) -> None:
    engine.present(host, Wish(groups=("network",)))
    outcome = engine.present(host, Wish(groups=("memory",)))
    assert {result.group for result in outcome.results} == {"memory"}
    conf = host.read("/etc/sysctl.d/99-zz-lowlatency.conf") or ""
    assert "net.core.busy_poll = 50" in conf and "vm.swappiness = 1" in conf
    assert {result.group for result in engine.verify(host).results} == {"network", "memory"}
    back = engine.absent(host, ["network"])
    assert {result.group for result in back.results} == {"network"}
    assert host.read("/proc/sys/net/core/busy_poll") == "0"
    conf = host.read("/etc/sysctl.d/99-zz-lowlatency.conf") or ""
    assert "busy_poll" not in conf and "vm.swappiness = 1" in conf
    assert host.exists(STORE)
    host.forget()
    assert not engine.absent(host, ["network"]).changed
    assert engine.absent(host, ["memory"]).changed
    assert not host.exists(STORE)


def test_a_knob_that_is_turned_off_is_turned_back(host: Tunable) -> None:
    engine.present(host, WISH)
    outcome = engine.present(host, dataclasses.replace(WISH, knobs={"busy_poll": False, "isolcpus": False}))
    results = by_id(outcome)
    assert results["busy_poll"].status == "applied" and "turned back" in results["busy_poll"].reason
    assert results["isolcpus"].status == "applied", "the running kernel never had it"
    assert host.read("/proc/sys/net/core/busy_poll") == "0"
    assert "isolcpus" not in host.line() and "nohz_full=2-5" in host.line()
    assert not engine.present(host, dataclasses.replace(WISH, knobs={"busy_poll": False, "isolcpus": False})).changed


def test_originals_are_those_of_the_first_contact(host: Tunable) -> None:
    engine.present(host, dataclasses.replace(WISH, knobs={"busy_poll": "10"}))
    engine.present(host, dataclasses.replace(WISH, knobs={"busy_poll": "20"}))
    host.poke("/proc/sys/net/core/busy_poll", "30\n")
    engine.present(host, WISH)
    assert json.loads(host.read(STORE) or "")["originals"]["busy_poll"] == {"net.core.busy_poll": "0"}
    engine.absent(host)
    assert host.read("/proc/sys/net/core/busy_poll") == "0"


def test_two_knobs_of_one_thing_take_turns(host: Tunable) -> None:
    engine.present(
        host, Wish(groups=("network",), knobs={"tcp_timestamps": False, "tcp_tw_reuse": False, "timestamps_off": True})
    )
    assert host.read("/proc/sys/net/ipv4/tcp_timestamps") == "0"
    other = Wish(groups=("network",), knobs={"tcp_timestamps": "0", "tcp_tw_reuse": False, "timestamps_off": False})
    engine.present(host, other)
    assert host.read("/proc/sys/net/ipv4/tcp_timestamps") == "0"
    assert "tcp_timestamps = 0" in (host.read("/etc/sysctl.d/99-zz-lowlatency.conf") or "")
    assert not engine.present(host, other).changed
    engine.absent(host)
    assert host.read("/proc/sys/net/ipv4/tcp_timestamps") == "1"


def test_a_boot_knob_that_the_kernel_did_not_take_is_never_already(host: Tunable) -> None:
    engine.present(host, WISH)
    host.boot()
    host.add({"/sys/devices/system/cpu/nohz_full": "(null)\n"})
    seen = by_id(engine.verify(host))["nohz_full"]
    assert (seen.status, seen.reason) == (
        "drifted",
        "the kernel did not take it: /sys/devices/system/cpu/nohz_full says '(null)', not '2-5'",
    )
    host.forget()
    outcome = engine.present(host, WISH)
    assert by_id(outcome)["nohz_full"].status == "failed"
    assert (outcome.changed, host.writes) == (False, [])


def test_a_boot_that_did_not_bring_a_boot_knob_is_told_from_one_to_come(host: Tunable) -> None:
    engine.present(host, WISH)
    assert by_id(engine.verify(host))["skew_tick"].status == "pending_reboot"
    host.boot()
    host.add({"/proc/cmdline": "quiet\n"})
    seen = by_id(engine.verify(host))["skew_tick"]
    assert seen.status == "drifted" and "the machine booted since" in seen.reason


def test_a_knob_that_fails_is_turned_back_and_the_others_go_on(host: Tunable) -> None:
    host.refuse("/proc/sys/net/core/busy_poll", errno.EINVAL)
    outcome = engine.present(host, WISH)
    results = by_id(outcome)
    assert results["busy_poll"].status == "failed" and "Invalid argument" in results["busy_poll"].reason
    assert results["busy_read"].status == "applied"
    assert "busy_poll" not in (host.read("/etc/sysctl.d/99-zz-lowlatency.conf") or "")
    assert "busy_poll" not in json.loads(host.read(STORE) or "")["settings"]
    assert "busy_poll" not in outcome.after
    del host.kernel["/proc/sys/net/core/busy_poll"]
    assert statuses(engine.present(host, WISH))["busy_poll"] == "applied"


def test_a_knob_that_the_kernel_changes_is_turned_back(host: Tunable) -> None:
    host.kernel["/proc/sys/vm/swappiness"] = lambda text: "10\n" if text.strip() == "1" else text
    result = by_id(engine.present(host, WISH))["swappiness"]
    assert result.status == "failed" and result.reason.endswith("it was turned back")
    assert host.read("/proc/sys/vm/swappiness") == "60"


def test_files_that_cannot_be_written_fail_their_knobs_and_leave_the_machine_as_it_was(host: Tunable) -> None:
    host.commands["update-grub"] = lambda words: host._update_grub(()) and _refused()
    outcome = engine.present(host, WISH)
    boot = [result for result in outcome.results if result.group == "boot" and result.status != "unsupported"]
    assert {result.status for result in boot} == {"failed"}
    assert "no space left" in boot[0].reason
    assert "isolcpus" not in host.line()
    assert statuses(outcome)["busy_poll"] == "applied"


def _refused() -> Done:
    return Done(1, "", "no space left")


def test_a_machine_of_another_size_plans_anew_at_its_boot(host: Tunable) -> None:
    engine.present(host, WISH)
    host.boot()
    host.resize(12)
    early = None
    host.boot(units=False)
    early = engine.reapply(host, "early")
    assert early.reboot_required
    assert "isolcpus=managed_irq,domain,4-11" in host.line()
    host.boot()
    assert host.read("/sys/devices/system/cpu/isolated") == "4-11"
    assert set(statuses(engine.verify(host)).values()) <= {"already", "unsupported"}
    assert not engine.reapply(host, "early").reboot_required
    host.resize(2)
    host.boot(units=False)
    assert engine.reapply(host, "early").reboot_required
    assert "isolcpus" not in host.line() and "skew_tick=1" in host.line()
    host.boot()
    seen = engine.verify(host)
    assert set(statuses(seen).values()) <= {"already", "unsupported"}
    assert "isolating takes 3" in by_id(seen)["isolcpus"].reason
    assert not engine.present(host, WISH).changed


@pytest.mark.parametrize("vcpus", [2, 12])
def test_a_plan_that_is_cut_off_anywhere_is_made_by_the_next_boot(tmp_path: pathlib.Path, vcpus: int) -> None:
    def moved(folder: str) -> Tunable:
        host = Tunable(tmp_path / folder)
        engine.present(host, WISH)
        host.resize(vcpus)
        host.boot(units=False)
        return host

    wanted = moved("wanted")
    made = wanted.changes_made
    engine.reapply(wanted, "early")
    engine.reapply(wanted, "late")
    for at in range(wanted.changes_made - made):
        host = moved(str(at))
        host.kill_at = host.changes_made + at
        with pytest.raises(Killed):
            for stage in ("early", "late"):
                engine.reapply(host, stage)
        host.kill_at = None
        host.boot()
        assert host.line() == wanted.line(), f"cut off at change {at}"
        host.boot()
        assert set(statuses(engine.verify(host)).values()) <= {"already", "unsupported"}, f"cut off at change {at}"
        assert not engine.present(host, WISH).changed


def test_a_wish_for_another_size_gives_way_at_a_boot(tmp_path: pathlib.Path) -> None:
    host = Tunable(tmp_path, vcpus=12)
    engine.present(host, dataclasses.replace(WISH, housekeeping=8))
    assert "isolcpus=managed_irq,domain,8-11" in host.line()
    host.resize(6)
    host.boot(units=False)
    outcome = engine.reapply(host, "early")
    assert "housekeeping_cpus is 8" in outcome.notes[0]
    assert "isolcpus=managed_irq,domain,2-5" in host.line()


def test_a_value_of_ones_own_that_another_size_cannot_have_gives_way_at_a_boot(tmp_path: pathlib.Path) -> None:
    host = Tunable(tmp_path, vcpus=12)
    engine.present(host, dataclasses.replace(WISH, knobs={**WISH.knobs, "irqaffinity": "0-1,11"}))
    assert "irqaffinity=0-1,11" in host.line()
    host.resize(6)
    host.boot(units=False)
    outcome = engine.reapply(host, "early")
    assert "irqaffinity" in outcome.notes[0] and "left to the catalogue" in outcome.notes[0]
    assert "isolcpus=managed_irq,domain,2-5" in host.line(), "all others are planned anew"
    assert "11" not in host.line()


def test_a_boot_brings_what_no_file_brings(host: Tunable) -> None:
    engine.present(host, WISH)
    host.boot(units=False)
    assert host.read(THP) == "always [madvise] never"
    host.forget()
    engine.reapply(host, "early")
    assert host.read(THP) == "always madvise [never]"
    assert host.read("/proc/irq/24/smp_affinity_list") == "0-5"
    engine.reapply(host, "late")
    assert host.read("/proc/irq/24/smp_affinity_list") == "0-1"
    assert not [path for path, _text in host.writes if path.startswith(("/etc", "/var", "/usr"))]


def test_without_its_boot_units_what_they_bring_does_not_last(host: Tunable) -> None:
    engine.present(host, WISH)
    host.remove("/etc/systemd/system/lowlatency-tuning.service")
    seen = by_id(engine.verify(host))
    assert seen["thp"].status == "drifted" and "next boot" in seen["thp"].reason
    assert seen["busy_poll"].status == "already"
    assert engine.present(host, WISH).changed
    assert by_id(engine.verify(host))["thp"].status == "already"


def test_knobs_broken_by_hand_are_named_exactly(host: Tunable) -> None:
    engine.present(host, WISH)
    host.boot()
    host.poke("/proc/sys/vm/swappiness", "60\n")
    host.poke(THP, "always")
    host.poke("/proc/irq/24/smp_affinity_list", "0-5\n")
    host.add({"/etc/default/grub.d/99-zz-lowlatency.cfg": ""})
    host._update_grub(())
    drifted = engine.verify(host).ids("drifted")
    line = {"irqaffinity", "isolcpus", "nohz_full", "rcu_nocbs", "rcu_normal_after_boot", "skew_tick", "tsc_reliable"}
    line |= {"intel_idle_max_cstate", "processor_max_cstate"}
    assert set(drifted) == {"swappiness", "thp", "irq_all"} | line
    repaired = engine.present(host, WISH)
    assert set(repaired.ids("applied")) == set(drifted)


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        (Wish(groups=("cpu", "nets")), "nets"),
        (Wish(groups=GROUPS, knobs={"busy_pol": "50"}), "busy_pol"),
        (Wish(groups=GROUPS, housekeeping=6), "housekeeping_cpus"),
        (Wish(groups=GROUPS, housekeeping=7), "housekeeping_cpus"),
        (Wish(groups=GROUPS, knobs={"hugepages": "9999999"}), "huge pages"),
        (Wish(groups=GROUPS, knobs={"timestamps_off": True, "tcp_timestamps": False}), "tw_reuse"),
        (Wish(groups=GROUPS, knobs={"swappiness": "{nothing}"}), "nothing"),
        (Wish(groups=GROUPS, parameters={"hugepages_percent": "200"}), "hugepages_percent"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(host: Tunable, wish: Wish, problem: str) -> None:
    host.add({"/proc/sys/vm/nr_hugepages": "0\n", "/proc/sys/net/ipv4/tcp_tw_reuse": "2\n"})
    before = host.tree()
    for act in (lambda: engine.present(host, wish), lambda: engine.verify(host, wish)):
        with pytest.raises(InvalidInput, match=problem):
            act()
    assert host.tree() == before


def test_a_machine_that_must_not_be_tuned_is_refused_before_anything_is_written(host: Tunable) -> None:
    host.add({"/etc/lowlatency-lab": ""})
    before = host.tree()
    with pytest.raises(Refused, match="lab"):
        engine.present(host, WISH)
    assert host.tree() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ('{"schema_version": 1}', "damaged"),
        ('{"schema_version": 99}', "schema version 99"),
        ("[]", "damaged"),
    ],
)
def test_a_store_that_cannot_be_understood_is_named_and_left_alone(host: Tunable, text: str, message: str) -> None:
    host.add({STORE: text})
    before = host.tree()
    for act in (lambda: engine.present(host, WISH), lambda: engine.absent(host), lambda: engine.verify(host)):
        with pytest.raises(TuningError, match=message) as error:
            act()
        assert STORE in str(error.value)
    assert host.tree() == before


def test_own_knobs_are_knobs(host: Tunable) -> None:
    own = Knob("own", "mine", "sysctl", "vm.stat_interval", "{vcpus}", "A knob.", "here")
    wish = Wish(groups=("mine",), extra_knobs=(own,))
    assert statuses(engine.present(host, wish)) == {"own": "applied"}
    assert host.read("/proc/sys/vm/stat_interval") == "6"
    assert statuses(engine.verify(host)) == {"own": "already"}
    engine.present(host, Wish(groups=("network",)))
    assert statuses(engine.absent(host, ["mine"])) == {"own": "applied"}
    assert host.read("/proc/sys/vm/stat_interval") == "1"
    with pytest.raises(InvalidInput):
        engine.absent(host, ["mine"])


def test_nothing_that_the_machine_has_by_itself_is_made_ours(host: Tunable) -> None:
    results = by_id(engine.present(host, WISH))
    entries = json.loads(host.read(STORE) or "")["settings"]
    assert results["nmi_watchdog"].status in ("already", "applied")
    assert {id_ for id_, result in results.items() if result.status == "unsupported"}.isdisjoint(entries)


def test_the_second_run_is_cheap(host: Tunable) -> None:
    engine.present(host, WISH)
    host.forget()
    engine.verify(host)
    assert len(host.ran) == len(set(host.ran)), "no command runs twice"
