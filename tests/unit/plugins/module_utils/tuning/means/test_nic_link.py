# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What persists the settings of an interface: drop-ins of .link files, and NetworkManager's connection (recorded)."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means import nic_link
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from support.recorded import RecordedHost, recorded_host

_DEFAULT = "/etc/systemd/network/99-default.link.d/99-zz-lowlatency.conf"
_NETPLAN = "/etc/systemd/network/10-netplan-ens5.link.d/99-zz-lowlatency.conf"
_UUID = "5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03"


def setting(target: str, value: str) -> Setting:
    return Setting(Knob("a_knob", "nic", "nic", target, value, "", ""), value)


def machine(folder: pathlib.Path, link: str = "/usr/lib/systemd/network/99-default.link") -> RecordedHost:
    return recorded_host(folder, {}, {"udevadm info": Done(0, f"IFINDEX=2\nID_NET_LINK_FILE={link}\n", "")})


@pytest.mark.parametrize(
    ("target", "value", "lines"),
    [
        ("ring.rx", "max", ["RxBufferSize=max"]),
        ("ring.tx", "512", ["TxBufferSize=512"]),
        ("channels.combined", "2", ["CombinedChannels=2"]),
        ("coalesce.adaptive-rx", "off", ["UseAdaptiveRxCoalesce=no"]),
        ("coalesce.adaptive-tx", "on", ["UseAdaptiveTxCoalesce=yes"]),
        ("coalesce.rx-usecs", "0", ["UseAdaptiveRxCoalesce=no", "RxCoalesceSec=0us"]),
        ("coalesce.tx-usecs", "64", ["UseAdaptiveTxCoalesce=no", "TxCoalesceSec=64us"]),
        ("coalesce.rx-frames", "1", ["RxMaxCoalescedFrames=1"]),
        ("feature.gro", "off", ["GenericReceiveOffload=no"]),
        ("feature.tso", "off", ["TCPSegmentationOffload=no", "TCP6SegmentationOffload=no"]),
        ("feature.ntuple", "on", ["NTupleFilter=yes"]),
        ("feature.rxhash", "on", []),
        ("rps", "0", []),
        ("gro_flush_timeout", "200000", []),
    ],
)
def test_keys_and_units_of_systemd(target: str, value: str, lines: list[str]) -> None:
    assert nic_link.lines(setting(target, value)) == lines


def test_the_drop_in_says_each_thing_once_and_names_no_machine(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    wanted = [setting("coalesce.adaptive-rx", "off"), setting("coalesce.rx-usecs", "0"), setting("rps", "0")]
    nic_link.keep(host, "ens5", wanted)
    text = host.read(_DEFAULT) or ""
    assert text.splitlines()[1:] == ["[Link]", "UseAdaptiveRxCoalesce=no", "RxCoalesceSec=0us"]
    assert "ens5" not in text
    assert all(nic_link.kept(host, "ens5", each) for each in wanted)
    assert not nic_link.kept(host, "ens5", setting("coalesce.rx-usecs", "20"))


def test_a_drop_in_that_lost_a_line_no_longer_keeps_it(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    wanted = setting("ring.rx", "max")
    nic_link.keep(host, "ens5", [wanted])
    host.add({_DEFAULT: "[Link]\n"})
    assert not nic_link.kept(host, "ens5", wanted)


def test_it_stands_beside_the_file_that_udev_took_and_beside_systemds_own(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, "/run/systemd/network/10-netplan-ens5.link")
    wanted = setting("ring.rx", "max")
    nic_link.keep(host, "ens5", [wanted])
    assert [path for path, _text in host.writes] == [_NETPLAN, _DEFAULT]
    host.remove(_NETPLAN)
    assert not nic_link.kept(host, "ens5", wanted)
    nic_link.keep(host, "ens5", [wanted])
    assert nic_link.kept(host, "ens5", wanted)
    nic_link.keep(host, "ens5", [])
    assert not host.exists(_NETPLAN)
    assert not host.exists(_DEFAULT)


def test_a_drop_in_of_a_file_that_udev_takes_no_more_goes(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, "/run/systemd/network/10-netplan-ens5.link")
    nic_link.keep(host, "ens5", [setting("ring.rx", "max")])
    host.commands["udevadm info"] = Done(0, "ID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link\n", "")
    nic_link.keep(host, "ens5", [setting("ring.rx", "max")])
    assert host.removed == [_NETPLAN]


def test_only_what_has_no_key_leaves_no_file(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path)
    nic_link.keep(host, "ens5", [setting("rps", "0")])
    assert host.writes == []


def test_a_machine_without_udev_still_has_systemds_own_file(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {})
    nic_link.keep(host, "ens5", [setting("ring.rx", "max")])
    assert [path for path, _text in host.writes] == [_DEFAULT]


class NetworkManager:
    """nmcli with one connection. Its answers are those of NetworkManager 1.48 on RHEL 9."""

    def __init__(self, properties: dict[str, str]) -> None:
        self.properties = properties
        self.changes: list[tuple[str, str]] = []
        self.exists = True

    def __call__(self, command: Sequence[str]) -> Done:
        words = tuple(command[1:])
        if not self.exists:
            return Done(10, "", f"Error: {_UUID} - no such connection profile.\n")
        if words[:2] == ("--get-values", "GENERAL.CON-UUID"):
            return Done(0, f"{_UUID}\n", "")
        if words[0] == "--get-values":
            return Done(0, f"{self.properties.get(words[1], '')}\n", "")
        assert words[:3] == ("connection", "modify", _UUID)
        self.changes.append((words[3], words[4]))
        self.properties[words[3]] = words[4]
        return Done(0, "", "")


def managed(folder: pathlib.Path, manager: NetworkManager) -> RecordedHost:
    host = machine(folder)
    host.add({"/run/NetworkManager/no-stub-resolv.conf": ""})
    host.commands["nmcli"] = manager
    return host


def test_networkmanagers_connection_has_it_too_and_gets_back_what_it_had(tmp_path: pathlib.Path) -> None:
    manager = NetworkManager({"ethtool.feature-gro": "on"})
    host = managed(tmp_path, manager)
    wanted = [setting("coalesce.adaptive-rx", "off"), setting("feature.gro", "off"), setting("ring.tx", "512")]
    assert not nic_link.kept(host, "ens5", wanted[0])
    nic_link.keep(host, "ens5", wanted)
    assert manager.changes == [
        ("ethtool.coalesce-adaptive-rx", "0"),
        ("ethtool.feature-gro", "off"),
        ("ethtool.ring-tx", "512"),
    ]
    assert all(nic_link.kept(host, "ens5", each) for each in wanted)
    nic_link.keep(host, "ens5", wanted)
    assert len(manager.changes) == 3
    nic_link.keep(host, "ens5", wanted[1:])
    assert manager.changes[3:] == [("ethtool.coalesce-adaptive-rx", "")]
    nic_link.keep(host, "ens5", [])
    assert manager.changes[4:] == [("ethtool.feature-gro", "on"), ("ethtool.ring-tx", "")]
    assert not host.exists("/var/lib/lowlatency-ec2/networkmanager.json")


def test_what_a_connection_had_is_written_before_it_is_changed(tmp_path: pathlib.Path) -> None:
    manager = NetworkManager({"ethtool.feature-gro": "on"})
    host = managed(tmp_path, manager)

    def refuses(command: Sequence[str]) -> Done:
        return Done(1, "", "Error: refused.") if command[1] == "connection" else manager(command)

    host.commands["nmcli"] = refuses
    with pytest.raises(KnobFailed, match="refused"):
        nic_link.keep(host, "ens5", [setting("feature.gro", "off")])
    record = json.loads(host.read("/var/lib/lowlatency-ec2/networkmanager.json") or "")
    assert record == {_UUID: {"ethtool.feature-gro": "on"}}


def test_networkmanager_knows_no_largest_ring(tmp_path: pathlib.Path) -> None:
    manager = NetworkManager({})
    host = managed(tmp_path, manager)
    nic_link.keep(host, "ens5", [setting("ring.rx", "max"), setting("rps", "0")])
    assert manager.changes == []
    assert nic_link.kept(host, "ens5", setting("ring.rx", "max"))


def test_a_connection_that_is_gone_is_forgotten(tmp_path: pathlib.Path) -> None:
    manager = NetworkManager({})
    host = managed(tmp_path, manager)
    nic_link.keep(host, "ens5", [setting("feature.gro", "off")])
    manager.exists = False
    nic_link.keep(host, "ens5", [])
    assert not host.exists("/var/lib/lowlatency-ec2/networkmanager.json")
