# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a boot does: when it reboots, when it does not, and that it never does so in a loop."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import boot, saved
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import compact, plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Facts
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done, Host
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.machine import gather
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import (
    APPLIED,
    BOOT,
    FAILED,
    Knob,
    Result,
    Setting,
    TuningError,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import BOOT_RECORD, STORE
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorded import RecordedHost, recorded_host

A = boot.Try("a", "6.1", "isolcpus=1-3")
B = boot.Try("b", "6.1", "isolcpus=2-7")


def a_boot(wanted: boot.Try = A, **changes: t.Any) -> boot.Boot:
    return boot.Boot(**{"boot_id": "1", "wanted": wanted, "moved": True, "pending": True, "booting": True, **changes})


def test_a_machine_that_moved_reboots_once() -> None:
    first = boot.decide(boot.Record(kernel="6.1"), a_boot())
    assert first.reboot
    record = boot.follow(boot.Record(), a_boot(), first)
    assert record.rebooted and record.tried == (A,)
    second = boot.decide(record, a_boot(boot_id="2", moved=False, pending=False))
    assert not second.reboot
    assert boot.follow(record, a_boot(boot_id="2", pending=False), second).tried == (), "seen to work"


@pytest.mark.parametrize(
    ("record", "changes", "reason"),
    [
        (boot.Record(), {"pending": False}, "the command line that is wanted"),
        (boot.Record(rebooted=True), {}, "rebooted for it just now"),
        (boot.Record(rebooted=True), {"wanted": B}, "rebooted for it just now"),
        (boot.Record(readable=False), {}, "cannot be read"),
        (boot.Record(tried=(B, A)), {}, "tried before"),
        (boot.Record(), {"booting": False}, "not the machine's start"),
        (boot.Record(), {"by_hand": True}, "rescue"),
        (boot.Record(), {"moved": False}, "those that it was set up for"),
        (boot.Record(kernel="6.1"), {"moved": False}, "those that it was set up for"),
    ],
)
def test_refusals(record: boot.Record, changes: dict[str, t.Any], reason: str) -> None:
    decision = boot.decide(record, a_boot(**changes))
    assert not decision.reboot
    assert reason in decision.reason


def test_a_new_kernel_is_a_reason_and_another_machine_was_not_tried() -> None:
    assert boot.decide(boot.Record(kernel="5.10"), a_boot(moved=False)).reboot
    assert boot.decide(boot.Record(tried=(A,)), a_boot(B)).reboot


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, dataclasses.replace(A, kernel="6.2")]), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_no_two_boots_in_a_row_reboot_and_nothing_is_tried_twice_in_vain(
    boots: list[tuple[boot.Try, bool, bool]],
) -> None:
    record = boot.Record()
    in_vain: set[tuple[str, str, str]] = set()
    for number, (wanted, moved, pending) in enumerate(boots):
        now = a_boot(wanted, boot_id=str(number), moved=moved, pending=pending)
        decision = boot.decide(record, now)
        key = (wanted.machine, wanted.kernel, wanted.line)
        assert not (decision.reboot and record.rebooted)
        assert not (decision.reboot and key in in_vain)
        if not pending:
            in_vain.discard(key)
        elif decision.reboot:
            in_vain.add(key)
        record = boot.follow(record, now, decision)


@dataclasses.dataclass
class Outcome:
    results: t.Sequence[Result]
    facts: Facts
    reboot_required: bool


class Machine:
    """A machine whose size and boot loader a test sets, with an engine of one knob, isolcpus."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.boots = 0
        self.rebooting = False
        self.takes = True
        self.state = "initializing"
        self.line = ""
        self.kernel = "6.1.0-1"
        self.reapplied: list[str] = []
        self.result = APPLIED
        self.host: RecordedHost = recorded_host(
            folder,
            {"/proc/meminfo": "MemTotal: 1048576 kB\n"},
            {"systemctl is-system-running": self._state, "systemctl --no-block reboot": self._reboot},
        )

    def _state(self, words: t.Sequence[str]) -> Done:
        return Done(1, f"{self.state}\n", "")

    def _reboot(self, words: t.Sequence[str]) -> Done:
        record = json.loads(self.host.read(BOOT_RECORD) or "")
        assert record["rebooted"], "the record is there before the reboot is asked for"
        self.rebooting = True
        return Done(0, "", "")

    def tune(self, vcpus: int) -> None:
        """As a run of the role leaves it: stored, persisted, not yet rebooted."""
        self._size(vcpus)
        self._plan(gather(self.host))

    def start(self, vcpus: int, only_once: bool = False) -> int:
        """Switch it on; tell how many boots it took until it stayed up."""
        before = self.boots
        self._size(vcpus)
        while True:
            self.boots += 1
            self.rebooting = False
            self._put("/proc/sys/kernel/random/boot_id", f"boot-{self.boots}")
            self._put("/proc/sys/kernel/osrelease", self.kernel)
            if self.takes:
                self._put("/proc/cmdline", f"root=/dev/vda1 {self.line}".strip())
            boot.early(self.host, self.reapply)
            if not self.rebooting or only_once:
                return self.boots - before
            assert self.boots - before < 10, "a loop"

    def reapply(self, host: Host, stage: str) -> Outcome:
        self.reapplied.append(stage)
        facts = gather(host)
        self._plan(facts)
        pending = (
            self.line not in ((host.read("/proc/cmdline") or "") + " ")
            if self.line
            else "isolcpus" in (host.read("/proc/cmdline") or "")
        )
        return Outcome([Result("isolcpus", "cpu", self.result, "because")], facts, pending)

    def _plan(self, facts: Facts) -> None:
        isolated = compact(plan_cpus(facts.topology).isolated)
        self.line = f"isolcpus={isolated}" if isolated else ""
        knob = Knob("isolcpus", "cpu", "cmdline", "isolcpus", isolated, "", "", effect=BOOT)
        entries = {"isolcpus": saved.Entry(Setting(knob, isolated), {}, kept=bool(isolated))}
        saved.save(self.host, saved.Store(planned_for=saved.planned_for(facts), entries=entries))

    def _size(self, vcpus: int) -> None:
        self._put("/sys/devices/system/cpu/online", f"0-{vcpus - 1}")

    def _put(self, path: str, text: str) -> None:
        real = pathlib.Path(self.host.path(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text + "\n", encoding="utf-8")

    @property
    def isolated(self) -> str:
        return (self.host.read("/proc/cmdline") or "").partition("isolcpus=")[2]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    made = Machine(tmp_path)
    made.tune(6)
    return made


def test_the_size_that_was_planned_for_takes_one_boot(machine: Machine) -> None:
    assert machine.start(6) == 1
    assert machine.isolated == "2-5"
    assert machine.start(6) == 1


def test_another_size_takes_one_boot_more_and_its_second_start_none(machine: Machine) -> None:
    assert machine.start(6) == 1
    assert machine.start(4) == 2
    assert machine.isolated == "1-3"
    assert machine.start(4) == 1
    assert machine.start(6) == 2, "back again"
    assert machine.isolated == "2-5"
    assert machine.start(4) == 2, "and forth: what was seen to work may be tried again"


def test_an_image_that_was_never_booted_where_it_was_baked(machine: Machine) -> None:
    assert machine.start(16) == 2
    assert machine.isolated == "4-15"


def test_under_three_cores_the_parameters_go(machine: Machine) -> None:
    assert machine.start(6) == 1
    assert machine.start(2) == 2
    assert machine.isolated == ""
    assert machine.start(2) == 1


def test_a_boot_loader_that_never_takes_the_line_costs_one_reboot(machine: Machine) -> None:
    assert machine.start(6) == 1
    machine.takes = False
    assert machine.start(4) == 2
    assert [machine.start(4) for _dummy in range(3)] == [1, 1, 1]
    assert "isolcpus=1-3" in (machine.host.read(BOOT_RECORD) or "")
    machine.takes = True
    assert machine.start(4) == 1, "it takes it in the end"
    assert json.loads(machine.host.read(BOOT_RECORD) or "")["tried"] == []


def test_a_new_kernel_that_came_without_the_line_costs_one_reboot(machine: Machine) -> None:
    assert machine.start(6) == 1
    machine.kernel = "6.1.0-2"
    machine.takes = False
    machine._put("/proc/cmdline", "root=/dev/vda1")
    assert machine.start(6) == 2
    assert machine.start(6) == 1


def test_a_line_that_somebody_took_off_stays_off(machine: Machine) -> None:
    assert machine.start(6) == 1
    machine.takes = False
    machine._put("/proc/cmdline", "root=/dev/vda1")
    assert machine.start(6) == 1


def test_a_boot_that_was_cut_off_while_it_planned_is_made_up_for(machine: Machine) -> None:
    assert machine.start(6) == 1
    whole = machine.reapply

    def cut_off(host: Host, stage: str) -> Outcome:
        whole(host, stage)
        raise TuningError("the power went")

    machine.reapply = cut_off  # type: ignore[method-assign]
    with pytest.raises(TuningError):
        machine.start(4)
    machine.reapply = whole  # type: ignore[method-assign]
    machine.takes = False
    assert machine.start(4) == 2


def test_without_a_record_on_the_disk_there_is_no_reboot(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.start(6) == 1
    write = machine.host.write

    def full(path: str, text: str, mode: int = 0o644) -> bool:
        if path == BOOT_RECORD:
            raise OSError(28, "No space left on device")
        return write(path, text, mode)

    monkeypatch.setattr(machine.host, "write", full)
    with pytest.raises(OSError, match="No space left"):
        machine.start(4)
    assert not machine.rebooting


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"boot_id": "x"}', '{"boot_id":"","kernel":"","rebooted":0,"planning":0,"tried":[1]}']
)
def test_a_damaged_record_means_no_reboot_and_is_mended(machine: Machine, text: str) -> None:
    machine._put(BOOT_RECORD, text)
    assert machine.start(4) == 1
    assert boot.load(machine.host).readable


def test_by_hand_on_a_machine_that_is_up_it_never_reboots(machine: Machine) -> None:
    machine.state = "running"
    assert machine.start(4) == 1
    assert "not the machine's start" in (machine.host.read(BOOT_RECORD) or "")


def test_in_a_rescue_mode_it_never_reboots(machine: Machine) -> None:
    machine.takes = False
    machine._put("/proc/cmdline", "root=/dev/vda1 single")
    assert machine.start(4) == 1


def test_a_second_run_in_the_same_boot_decides_nothing(machine: Machine) -> None:
    assert machine.start(4, only_once=True) == 1
    assert machine.rebooting
    machine.rebooting = False
    before = machine.host.read(BOOT_RECORD)
    assert boot.early(machine.host, machine.reapply) == 0
    assert not machine.rebooting
    assert machine.host.read(BOOT_RECORD) == before


def test_without_a_store_nothing_is_done(machine: Machine) -> None:
    machine.host.remove(STORE)
    assert boot.early(machine.host, machine.reapply) == 0
    assert machine.reapplied == []


def test_a_failed_knob_fails_the_unit_and_is_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.result = FAILED
    assert boot.early(machine.host, machine.reapply) == 1
    assert "<3>isolcpus: because" in capsys.readouterr().err
    assert json.loads(machine.host.read(BOOT_RECORD) or "")["failed"] == {"isolcpus": "because"}
    assert boot.late(machine.host, machine.reapply) == 1


def test_late_only_applies(machine: Machine) -> None:
    machine._size(4)
    assert boot.late(machine.host, machine.reapply) == 0
    assert machine.reapplied == ["late"]
    assert not machine.host.exists(BOOT_RECORD)


def test_a_wrong_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert boot.main([]) == 2
    assert boot.main(["later"]) == 2
    assert "usage" in capsys.readouterr().err


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([2, 4, 6, 8, 16]), st.booleans()), min_size=1, max_size=12))
def test_no_start_takes_more_than_two_boots(starts: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(pathlib.Path(folder))
        machine.tune(6)
        for vcpus, takes in starts:
            machine.takes = takes
            assert machine.start(vcpus) <= 2
            if takes and machine.start(vcpus) == 1:
                assert machine.isolated == compact(plan_cpus(gather(machine.host).topology).isolated)
