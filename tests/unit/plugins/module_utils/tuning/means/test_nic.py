# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means nic on recorded interfaces: an ENA, an e1000e, a virtio."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.nic import Nic
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from support.interface import E1000E, ENA, VIRTIO, Ethtool
from support.recorded import RecordedHost, recorded_host

NIC = Nic()
FACTS = Facts(
    family="intel",
    arch="x86_64",
    distribution="debian",
    version="12",
    kernel="6.1.0-38-cloud-amd64",
    kernel_config={},
    topology=Topology(tuple(Cpu(number, number // 2 * 2, 0) for number in range(4))),
    memory_kib=8 * 1024 * 1024,
    interface="ens5",
    driver="ena",
)
_DROPIN = "/etc/systemd/network/99-default.link.d/99-zz-lowlatency.conf"


def setting(target: str, value: str) -> Setting:
    return Setting(Knob("a_knob", "nic", "nic", target, value, "", ""), value)


def machine(folder: pathlib.Path, ethtool: Ethtool | None, interface: str = "ens5") -> RecordedHost:
    host = recorded_host(folder, {f"/sys/class/net/{interface}/ifindex": "2\n"})
    host.commands["udevadm info"] = Done(
        0, "INTERFACE=ens5\nID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link\n", ""
    )
    if ethtool:
        host.commands["ethtool"] = ethtool
    return host


@pytest.mark.parametrize(
    ("target", "value", "running", "wanted"),
    [
        ("ring.rx", "max", "1024", "16384"),
        ("ring.rx", "4096", "1024", "4096"),
        ("ring.tx", "4096", "1024", "1024"),
        ("ring.rx", "3000", "1024", "2048"),
        ("ring.rx", "10", "1024", "256"),
        ("channels.combined", "2", "4", "2"),
        ("channels.combined", "64", "4", "4"),
        ("channels.combined", "0", "4", "1"),
        ("coalesce.adaptive-rx", "off", "on", "off"),
        ("coalesce.rx-usecs", "0", "adaptive", "0"),
        ("coalesce.tx-usecs", "0", "64", "0"),
        ("feature.gro", "off", "on", "off"),
        ("feature.lro", "off", "off", "off"),
    ],
)
def test_what_an_ena_has_and_what_it_can_take(
    tmp_path: pathlib.Path, target: str, value: str, running: str, wanted: str
) -> None:
    reading = NIC.read(machine(tmp_path, Ethtool(ENA)), FACTS, setting(target, value))
    assert reading.unsupported == ""
    assert dict(reading.running) == {f"ens5 {target}": running}
    assert dict(reading.wanted) == {f"ens5 {target}": wanted}
    assert bool(reading.note) == (value not in (wanted, "max"))


@pytest.mark.parametrize(
    ("shown", "target", "value", "reason"),
    [
        (ENA, "feature.ntuple", "on", "ens5: ntuple is off on this device, and fixed"),
        (ENA, "feature.nosuch", "on", "ens5 has no feature setting nosuch"),
        (E1000E, "coalesce.tx-usecs", "0", "ens5: tx-usecs is not something that this device moderates interrupts by"),
        (
            E1000E,
            "coalesce.adaptive-rx",
            "off",
            "ens5: adaptive-rx is not something that this device moderates interrupts by",
        ),
        (
            E1000E,
            "channels.combined",
            "1",
            "ens5 has no channels settings (ethtool -l: netlink error: Operation not supported)",
        ),
        (VIRTIO, "feature.lro", "on", "ens5: lro is off on this device, and fixed"),
        (None, "ring.rx", "max", "ethtool is not installed"),
    ],
)
def test_what_a_device_does_not_have_is_unsupported_with_its_reason(
    tmp_path: pathlib.Path, shown: dict[str, str] | None, target: str, value: str, reason: str
) -> None:
    host = machine(tmp_path, Ethtool(shown) if shown else None)
    assert NIC.read(host, FACTS, setting(target, value)).unsupported == reason
    with pytest.raises(KnobFailed):
        NIC.apply(host, FACTS, setting(target, value))


def test_without_an_interface_nothing_is_supported(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    facts = dataclasses.replace(FACTS, interface="")
    assert NIC.read(host, facts, setting("ring.rx", "max")).unsupported
    gone = dataclasses.replace(FACTS, interface="ens6")
    assert NIC.read(host, gone, setting("ring.rx", "max")).unsupported


@pytest.mark.parametrize(
    ("target", "value", "changes"),
    [
        ("ring.rx", "max", [("-G", "rx", "16384")]),
        ("ring.tx", "4096", []),
        ("channels.combined", "2", [("-L", "combined", "2")]),
        ("coalesce.adaptive-rx", "off", [("-C", "adaptive-rx", "off")]),
        ("coalesce.rx-usecs", "0", [("-C", "adaptive-rx", "off")]),
        ("coalesce.rx-usecs", "20", [("-C", "adaptive-rx", "off"), ("-C", "rx-usecs", "20")]),
        ("coalesce.tx-usecs", "0", [("-C", "tx-usecs", "0")]),
        ("feature.gro", "off", [("-K", "gro", "off")]),
        ("feature.lro", "off", []),
    ],
)
def test_only_what_differs_is_asked_of_the_device_once_and_turned_back(
    tmp_path: pathlib.Path, target: str, value: str, changes: list[tuple[str, ...]]
) -> None:
    ethtool = Ethtool(ENA)
    host = machine(tmp_path, ethtool)
    before = NIC.read(host, FACTS, setting(target, value))
    NIC.apply(host, FACTS, setting(target, value))
    assert ethtool.changes == changes
    assert NIC.read(host, FACTS, setting(target, value)).runs
    NIC.apply(host, FACTS, setting(target, value))
    assert ethtool.changes == changes
    NIC.restore(host, FACTS, setting(target, value), before.running)
    assert NIC.read(host, FACTS, setting(target, value)).running == before.running
    count = len(ethtool.changes)
    NIC.restore(host, FACTS, setting(target, value), before.running)
    assert len(ethtool.changes) == count


def test_a_fixed_delay_that_shows_once_the_device_no_longer_adapts_is_turned_too(tmp_path: pathlib.Path) -> None:
    ethtool = Ethtool(ENA, fixed_rx_usecs="20")
    host = machine(tmp_path, ethtool)
    wanted = setting("coalesce.rx-usecs", "0")
    NIC.apply(host, FACTS, wanted)
    assert ethtool.changes == [("-C", "adaptive-rx", "off"), ("-C", "rx-usecs", "0")]
    assert NIC.read(host, FACTS, wanted).runs


def test_a_delay_is_left_alone_where_the_device_adapts_again(tmp_path: pathlib.Path) -> None:
    ethtool = Ethtool(ENA)
    NIC.restore(machine(tmp_path, ethtool), FACTS, setting("coalesce.rx-usecs", "0"), {"ens5 coalesce.rx-usecs": "20"})
    assert ethtool.changes == []


def test_a_refusal_of_the_device_fails_the_knob_with_its_words(tmp_path: pathlib.Path) -> None:
    ethtool = Ethtool(ENA)
    ethtool.refused.add(("-K", "gro"))
    with pytest.raises(KnobFailed, match="Invalid argument"):
        NIC.apply(machine(tmp_path, ethtool), FACTS, setting("feature.gro", "off"))


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("feature.gro", "no"),
        ("ring.rx", "big"),
        ("coalesce.tx-usecs", "max"),
        ("rps", "x"),
        ("gro_flush_timeout", "-1"),
    ],
)
def test_a_value_that_is_none_fails_the_knob(tmp_path: pathlib.Path, target: str, value: str) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    host.add({"/sys/class/net/ens5/queues/rx-0/rps_cpus": "0\n", "/sys/class/net/ens5/gro_flush_timeout": "0\n"})
    with pytest.raises(KnobFailed):
        NIC.read(host, FACTS, setting(target, value))


def test_a_target_that_there_is_none_of_fails_the_knob(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KnobFailed, match="no target"):
        NIC.read(machine(tmp_path, Ethtool(ENA)), FACTS, setting("colour", "red"))


def test_an_interface_that_is_gone_is_left_out_of_a_restore(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, None)
    NIC.restore(host, FACTS, setting("ring.rx", "max"), {"ens7 ring.rx": "512"})
    NIC.restore(host, FACTS, setting("rps", "0"), {"/sys/class/net/ens7/queues/rx-0/rps_cpus": "3"})
    assert host.writes == []


def test_masks_of_vcpus_are_compared_as_numbers_and_written_where_they_differ(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    queues = "/sys/class/net/ens5/queues"
    host.add({f"{queues}/rx-0/rps_cpus": "00000000,00000000\n", f"{queues}/rx-1/rps_cpus": "00000001,0000000f\n"})
    wanted = setting("rps", "0")
    before = NIC.read(host, FACTS, wanted)
    assert dict(before.running) == {f"{queues}/rx-0/rps_cpus": "0", f"{queues}/rx-1/rps_cpus": "1,0000000f"}
    NIC.apply(host, FACTS, wanted)
    assert host.writes == [(f"{queues}/rx-1/rps_cpus", "0")]
    assert NIC.read(host, FACTS, wanted).runs
    host.forget()
    NIC.apply(host, FACTS, wanted)
    assert host.writes == []
    NIC.restore(host, FACTS, wanted, before.running)
    assert host.writes == [(f"{queues}/rx-1/rps_cpus", "1,0000000f")]


def test_xps_spreads_vcpus_over_the_send_queues(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    queues = "/sys/class/net/ens5/queues"
    host.add({f"{queues}/tx-{number}/xps_cpus": "0\n" for number in (0, 1, 10)})
    reading = NIC.read(host, FACTS, setting("xps", "spread"))
    assert dict(reading.wanted) == {
        f"{queues}/tx-0/xps_cpus": "9",
        f"{queues}/tx-1/xps_cpus": "2",
        f"{queues}/tx-10/xps_cpus": "4",
    }
    assert not reading.runs


def test_a_kernel_without_the_file_has_no_such_thing(tmp_path: pathlib.Path) -> None:
    reading = NIC.read(machine(tmp_path, Ethtool(ENA)), FACTS, setting("napi_defer_hard_irqs", "2"))
    assert reading.unsupported == "ens5 has no napi_defer_hard_irqs here"


def test_a_kernel_that_refuses_a_mask_fails_the_knob(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    path = "/sys/class/net/ens5/queues/rx-0/rps_cpus"
    host.add({path: "1\n"})
    host.refuse(path, 22)
    with pytest.raises(KnobFailed, match="Invalid argument"):
        NIC.apply(host, FACTS, setting("rps", "0"))


def test_it_lasts_once_the_drop_in_has_it(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Ethtool(ENA))
    wanted = [setting("ring.rx", "max"), setting("coalesce.tx-usecs", "0")]
    assert not NIC.read(host, FACTS, wanted[0]).persisted
    NIC.persist(host, FACTS, wanted)
    assert [NIC.read(host, FACTS, each).persisted for each in wanted] == [True, True]
    assert host.read(_DROPIN) is not None
    host.forget()
    NIC.persist(host, FACTS, wanted)
    assert host.writes == []
    NIC.persist(host, FACTS, [])
    assert host.removed == [_DROPIN]
    assert not NIC.read(host, FACTS, wanted[0]).persisted
