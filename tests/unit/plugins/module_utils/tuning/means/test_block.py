# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means block on recorded disks: an NVMe and a virtio disk of Debian 12's kernel."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.block import Block
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from support.recorded import RecordedHost, recorded_host

BLOCK = Block()
FACTS = Facts(
    family="amd",
    arch="x86_64",
    distribution="debian",
    version="12",
    kernel="6.1.0-38-cloud-amd64",
    kernel_config={},
    topology=Topology((Cpu(0, 0, 0),)),
    memory_kib=1024 * 1024,
    disks=("nvme0n1", "vda"),
)
RULES = "/etc/udev/rules.d/99-zz-lowlatency-disk.rules"
NVME, VIRTIO = "/sys/block/nvme0n1/queue", "/sys/block/vda/queue"


def setting(target: str, value: str) -> Setting:
    return Setting(Knob("a_knob", "disk", "block", target, value, "", ""), value)


def machine(folder: pathlib.Path) -> RecordedHost:
    files = {
        f"{NVME}/scheduler": "[none] mq-deadline\n",
        f"{NVME}/nr_requests": "1023\n",
        f"{NVME}/iostats": "1\n",
        f"{VIRTIO}/scheduler": "none [mq-deadline]\n",
        f"{VIRTIO}/nr_requests": "256\n",
        f"{VIRTIO}/iostats": "1\n",
        f"{VIRTIO}/add_random": "1\n",
    }
    return recorded_host(folder, files, {"udevadm control --reload": Done(0, "", "")})


def test_the_bracketed_word_is_what_runs_and_only_the_other_disk_is_turned(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    wanted = setting("scheduler", "none")
    before = BLOCK.read(host, FACTS, wanted)
    assert dict(before.running) == {f"{NVME}/scheduler": "none", f"{VIRTIO}/scheduler": "mq-deadline"}
    BLOCK.apply(host, FACTS, wanted)
    assert host.writes == [(f"{VIRTIO}/scheduler", "none")]
    assert host.read(f"{VIRTIO}/scheduler") == "[none] mq-deadline"
    assert BLOCK.read(host, FACTS, wanted).runs
    host.forget()
    BLOCK.apply(host, FACTS, wanted)
    assert host.writes == []
    BLOCK.restore(host, FACTS, wanted, before.running)
    assert host.writes == [(f"{VIRTIO}/scheduler", "mq-deadline")]
    assert host.read(f"{VIRTIO}/scheduler") == "none [mq-deadline]"


def test_a_scheduler_that_is_not_offered_is_unsupported(tmp_path: pathlib.Path) -> None:
    reading = BLOCK.read(machine(tmp_path), FACTS, setting("scheduler", "kyber"))
    assert reading.unsupported.startswith("nvme0n1: offers no scheduler kyber ([none] mq-deadline)")
    with pytest.raises(KnobFailed):
        BLOCK.apply(machine(tmp_path / "again"), FACTS, setting("scheduler", "kyber"))


def test_a_disk_that_cannot_is_named_and_the_others_are_turned(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    host.add({f"{VIRTIO}/scheduler": "[none] mq-deadline bfq\n"})
    reading = BLOCK.read(host, FACTS, setting("scheduler", "bfq"))
    assert dict(reading.wanted) == {f"{VIRTIO}/scheduler": "bfq"}
    assert reading.note == "nvme0n1: offers no scheduler bfq ([none] mq-deadline)"


def test_a_queue_without_a_scheduler_gets_no_longer_than_the_device_has(tmp_path: pathlib.Path) -> None:
    reading = BLOCK.read(machine(tmp_path), FACTS, setting("nr_requests", "1024"))
    assert dict(reading.wanted) == {f"{NVME}/nr_requests": "1023", f"{VIRTIO}/nr_requests": "1024"}
    assert reading.note == "nvme0n1: its queue has 1023 requests, and 1024 are wanted"


def test_a_disk_without_the_attribute_is_left_out(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    assert dict(BLOCK.read(host, FACTS, setting("add_random", "0")).wanted) == {f"{VIRTIO}/add_random": "0"}
    assert BLOCK.read(host, FACTS, setting("colour", "0")).unsupported == "no disk here has the attribute colour"


def test_a_disk_that_is_gone_is_left_out_of_a_restore(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    BLOCK.restore(host, FACTS, setting("iostats", "0"), {"/sys/block/nvme7n1/queue/iostats": "1"})
    assert host.writes == []


def test_what_the_kernel_refuses_fails_the_knob(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    host.refuse(f"{NVME}/iostats", 22)
    with pytest.raises(KnobFailed, match="Invalid argument"):
        BLOCK.apply(host, FACTS, setting("iostats", "0"))


def test_one_rule_each_with_the_scheduler_first_and_no_disk_by_name(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    wanted = [setting("nr_requests", "1024"), setting("iostats", "0"), setting("scheduler", "none")]
    assert not BLOCK.read(host, FACTS, wanted[0]).persisted
    BLOCK.persist(host, FACTS, wanted)
    rules = (host.read(RULES) or "").splitlines()[1:]
    assert [rule.rpartition(", ")[2] for rule in rules] == [
        'ATTR{queue/scheduler}="none"',
        'ATTR{queue/iostats}="0"',
        'ATTR{queue/nr_requests}="1024"',
    ]
    assert all('ENV{DEVTYPE}=="disk"' in rule and "nvme0n1" not in rule for rule in rules)
    assert host.ran == [("udevadm", "control", "--reload")]
    assert all(BLOCK.read(host, FACTS, each).persisted for each in wanted)
    assert not BLOCK.read(host, FACTS, setting("scheduler", "mq-deadline")).persisted
    host.forget()
    BLOCK.persist(host, FACTS, wanted)
    assert (host.writes, host.ran) == ([], [])
    BLOCK.persist(host, FACTS, [])
    assert host.removed == [RULES]
    assert not BLOCK.read(host, FACTS, wanted[0]).persisted
