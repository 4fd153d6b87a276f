# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a machine is, over the files of machines of many kinds, and which machines are refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import compact, expand, mask, plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done, Host
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.machine import gather, refusal
from support.recorded import Link, RecordedHost, recorded_host

MACHINES = pathlib.Path(__file__).parent / "machines"

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'

#: A c7i instance in short: Debian 12 on EC2, ENA, NVMe.
PLAIN: dict[str, str] = {
    "/etc/os-release": DEBIAN,
    "/proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\n\nprocessor\t: 1\nvendor_id\t: GenuineIntel\n",
    "/proc/meminfo": "MemTotal:        1003456 kB\nMemFree:          500000 kB\n",
    "/proc/sys/kernel/osrelease": "6.1.0-38-cloud-amd64\n",
    "/proc/sys/kernel/arch": "x86_64\n",
    "/boot/config-6.1.0-38-cloud-amd64": '# CONFIG_X is not set\nCONFIG_NO_HZ_FULL=y\nCONFIG_HZ=250\nCONFIG_L="(n)"\n',
    "/boot/grub/grub.cfg": "",
    "/usr/sbin/update-grub": "",
    "/run/systemd/system/units": "",
    "/sys/devices/system/cpu/online": "0-1\n",
    "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
    "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
    "/sys/class/net/lo/mtu": "65536\n",
    "/sys/class/net/docker0/mtu": "1500\n",
    "/sys/class/net/ens10/device/driver": Link("../../../bus/pci/drivers/ena"),
    "/sys/class/net/ens5/device/driver": Link("../../../bus/pci/drivers/ena"),
    "/sys/block/nvme0n1/device/model": "Amazon Elastic Block Store\n",
    "/sys/block/nvme0n1/size": "16777216\n",
    "/sys/block/nvme0c0n1/device/model": "\n",
    "/sys/block/nvme0c0n1/hidden": "1\n",
    "/sys/block/sr0/device/model": "DVD\n",
    "/sys/block/sdb/device/model": "card reader without a card\n",
    "/sys/block/sdb/size": "0\n",
    "/sys/block/loop0/size": "8\n",
    "/sys/block/dm-0/size": "8\n",
}
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
ens10\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0
ens6\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
*\t00000000\t00000000\t0200\t0\t0\t1\t00000000\t0\t0\t0
"""
NOT_A_CONTAINER = {"systemd-detect-virt --container": Done(1, "none\n", "")}


def plain(folder: pathlib.Path, **commands: Done) -> RecordedHost:
    return recorded_host(folder, PLAIN, {**NOT_A_CONTAINER, **commands})


def changed(folder: pathlib.Path, files: t.Mapping[str, str | None]) -> RecordedHost:
    """The plain machine with other files; none: without this one."""
    merged = {path: text for path, text in {**PLAIN, **files}.items() if text is not None}
    return recorded_host(folder, merged, NOT_A_CONTAINER)


def recorded(name: str, folder: pathlib.Path) -> tuple[dict[str, t.Any], RecordedHost]:
    """The facts of a machine of the folder beside, and its files."""
    facts = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
    online = expand(facts["online"])
    cpuinfo = "".join(f"{field}\t: {value}\n" for field, value in facts["cpuinfo"].items())
    files = {
        "/proc/cpuinfo": "\n".join(f"processor\t: {number}\n{cpuinfo}" for number in online),
        "/sys/devices/system/cpu/online": facts["online"] + "\n",
        "/sys/class/dmi/id/sys_vendor": facts.get("sys_vendor", "QEMU") + "\n",
    }
    for siblings in facts["cores"]:
        for number in expand(siblings):
            files[f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"] = siblings + "\n"
            files[f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings"] = mask(expand(siblings)) + "\n"
    for node, numbers in facts["nodes"].items():
        files[f"/sys/devices/system/node/node{node}/cpulist"] = numbers + "\n"
    return facts, recorded_host(folder, files, NOT_A_CONTAINER)


@pytest.mark.parametrize(
    ("name", "family", "housekeeping"),
    [
        ("epyc-7451-8-nodes", "amd", "0-3,48-51"),
        ("xeon-x7550-4-nodes", "intel", "0,2,4,6,32,34,36,38"),
        ("core-i7-1165g7", "intel", "0,4"),
        ("xeon-some-offline", "intel", "0-1,8-9"),
        ("core-i7-1370p-hybrid", "intel", "0-3"),
        ("kunpeng-920-4-nodes", "other", "0-15"),
        ("graviton2-64", "graviton", "0-7"),
        ("graviton3-8", "graviton", "0-1"),
        ("firecracker-2", "intel", "0-1"),
    ],
)
def test_machines_of_many_kinds(name: str, family: str, housekeeping: str, tmp_path: pathlib.Path) -> None:
    recording, host = recorded(name, tmp_path)
    facts = gather(host)
    assert facts.family == family
    assert facts.arch == ("x86_64" if "vendor_id" in recording["cpuinfo"] else "aarch64")
    assert compact(cpu.number for cpu in facts.topology.cpus) == recording["online"]
    assert sorted(facts.topology.cores.values()) == sorted(expand(siblings) for siblings in recording["cores"])
    nodes = {number: int(node) for node, numbers in recording["nodes"].items() for number in expand(numbers)}
    assert all(cpu.node == nodes[cpu.number] for cpu in facts.topology.cpus)
    plan = plan_cpus(facts.topology)
    assert compact(plan.housekeeping) == housekeeping
    assert bool(plan.reason) == (name == "firecracker-2")


def test_every_recorded_machine_is_used() -> None:
    text = pathlib.Path(__file__).read_text(encoding="utf-8")
    names = [path.stem for path in MACHINES.glob("*.json")]
    assert "graviton2-64" in names
    assert [name for name in names if f'"{name}"' not in text] == []
    readme = (MACHINES / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_a_plain_machine(tmp_path: pathlib.Path) -> None:
    host = plain(tmp_path)
    facts = gather(host)
    assert (facts.family, facts.arch) == ("intel", "x86_64")
    assert (facts.distribution, facts.version, facts.kernel) == ("debian", "12", "6.1.0-38-cloud-amd64")
    assert facts.kernel_config == {"CONFIG_NO_HZ_FULL": "y", "CONFIG_HZ": "250", "CONFIG_L": "(n)"}
    assert facts.topology.cpus == (Cpu(0, 0, 0), Cpu(1, 0, 0))
    assert facts.memory_kib == 1003456
    assert (facts.interface, facts.driver) == ("ens5", "ena"), "5 comes before 10"
    assert facts.disks == ("nvme0n1",)
    assert facts.bootloader == "grub_dropin"
    assert (facts.container, facts.systemd, facts.sys_writable) == ("", True, True)
    assert refusal(host, facts) == ""
    assert host.writes == [] and host.removed == [], "looking changes nothing"


def test_the_default_route_with_the_lowest_metric_counts(tmp_path: pathlib.Path) -> None:
    driver = Link("../../../bus/pci/drivers/ixgbevf")
    facts = gather(changed(tmp_path, {"/proc/net/route": ROUTES, "/sys/class/net/ens6/device/driver": driver}))
    assert (facts.interface, facts.driver) == ("ens6", "ixgbevf")


def test_a_machine_with_ipv6_alone(tmp_path: pathlib.Path) -> None:
    zero = "0" * 32
    rows = (
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo",
        f"{zero} 00 {zero} 00 fe80{zero[4:]} 00000400 00000005 00000000 00000003    ens10",
        f"{zero} 00 {zero} 00 fe80{zero[4:]} 00000064 00000005 00000000 00000003     ens5",
        f"fe80{zero[4:]} 40 {zero} 00 {zero} 00000001 00000001 00000000 00000001    ens10",
    )
    files = {"/proc/net/route": ROUTES.splitlines()[0], "/proc/net/ipv6_route": "\n".join(rows) + "\n"}
    assert gather(changed(tmp_path, files)).interface == "ens5"


def test_a_virtual_interface_has_no_driver(tmp_path: pathlib.Path) -> None:
    route = ROUTES.splitlines()[0] + "\ndocker0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    facts = gather(changed(tmp_path, {"/proc/net/route": route}))
    assert (facts.interface, facts.driver) == ("docker0", "")


def test_an_empty_machine_raises_nothing(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {})
    facts = gather(host)
    assert facts.topology.cpus == ()
    assert (facts.family, facts.arch, facts.interface, facts.disks, facts.bootloader) == ("other", "", "", (), "")
    assert "was not booted with systemd" in refusal(host, facts)


def test_vcpus_of_a_kernel_without_hotplugging(tmp_path: pathlib.Path) -> None:
    facts = gather(changed(tmp_path, {"/sys/devices/system/cpu/online": None}))
    assert [cpu.number for cpu in facts.topology.cpus] == [0, 1]


def test_newer_names_of_sibling_lists_win(tmp_path: pathlib.Path) -> None:
    folder = "/sys/devices/system/cpu/cpu{}/topology/core_cpus_list"
    facts = gather(changed(tmp_path, {folder.format(0): "0\n", folder.format(1): "1\n"}))
    assert facts.topology.cores == {0: (0,), 1: (1,)}


@pytest.mark.parametrize("path", ["/lib/modules/6.1.0-38-cloud-amd64/config", "/proc/config.gz"])
def test_other_places_of_the_kernel_configuration(path: str, tmp_path: pathlib.Path) -> None:
    host = changed(tmp_path, {"/boot/config-6.1.0-38-cloud-amd64": None})
    real = pathlib.Path(host.path(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    text = b"CONFIG_NO_HZ_FULL=y\n"
    real.write_bytes(gzip.compress(text) if path.endswith(".gz") else text)
    assert gather(host).kernel_config == {"CONFIG_NO_HZ_FULL": "y"}


def test_an_unreadable_kernel_configuration_is_none(tmp_path: pathlib.Path) -> None:
    files = {"/boot/config-6.1.0-38-cloud-amd64": None, "/proc/config.gz": "no gzip at all"}
    assert gather(changed(tmp_path, files)).kernel_config == {}


@pytest.mark.parametrize(
    ("files", "bootloader"),
    [
        ({}, "grub_dropin"),
        ({"/boot/grub/grub.cfg": None}, ""),
        ({"/usr/sbin/update-grub": None}, ""),
        ({"/usr/sbin/update-grub": None, "/usr/sbin/grubby": ""}, "grubby"),
    ],
)
def test_boot_loaders(files: dict[str, str | None], bootloader: str, tmp_path: pathlib.Path) -> None:
    assert gather(changed(tmp_path, files)).bootloader == bootloader


@pytest.mark.parametrize(
    ("cpuinfo", "vendor", "family"),
    [
        ("vendor_id : AuthenticAMD", "Amazon EC2", "amd"),
        ("vendor_id : HygonGenuine", "Amazon EC2", "other"),
        ("CPU implementer : 0x41", "Amazon EC2", "graviton"),
        ("CPU implementer : 0x41", "QEMU", "other"),
        ("CPU implementer : 0x41", None, "other"),
        ("CPU implementer : 0xc0", "Amazon EC2", "other"),
    ],
)
def test_families(cpuinfo: str, vendor: str | None, family: str, tmp_path: pathlib.Path) -> None:
    files = {"/proc/cpuinfo": f"processor : 0\n{cpuinfo}\n\n", "/sys/class/dmi/id/sys_vendor": vendor}
    assert gather(changed(tmp_path, files)).family == family


@pytest.mark.parametrize(
    ("release", "why"),
    [
        (DEBIAN, ""),
        ("ID=ubuntu\nVERSION_ID='24.04'\n", ""),
        ('NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n', ""),
        ('ID="rhel"\nVERSION_ID="9.4"\n', ""),
        ('ID="rocky"\nVERSION_ID="9.5"\n', ""),
        ('ID="almalinux"\nVERSION_ID="9"\n', ""),
        ('ID="centos"\nVERSION_ID="9"\n', ""),
        ("ID=debian\nVERSION_ID=11\n", "this machine is debian 11, and only Debian 12, "),
        ("ID=debian\n", "this machine is debian, and only"),
        ("ID=ubuntu\nVERSION_ID=22.04\n", "this machine is ubuntu 22.04, and only"),
        ('ID="amzn"\nVERSION_ID="2"\n', "this machine is amzn 2, and only"),
        ('ID="rhel"\nVERSION_ID="90.1"\n', "this machine is rhel 90.1, and only"),
        ("ID=arch\n", "this machine is arch, and only"),
        (None, "this machine is without an os-release file, and only"),
    ],
)
def test_distributions(release: str | None, why: str, tmp_path: pathlib.Path) -> None:
    host = changed(tmp_path, {"/etc/os-release": release})
    said = refusal(host, gather(host))
    assert said.startswith(why) if why else said == ""


def test_os_release_in_its_second_place(tmp_path: pathlib.Path) -> None:
    host = changed(tmp_path, {"/etc/os-release": None, "/usr/lib/os-release": DEBIAN})
    assert refusal(host, gather(host)) == ""


@pytest.mark.parametrize(
    ("files", "answer", "container"),
    [
        ({}, Done(0, "lxc\n", ""), "lxc"),
        ({"/run/.containerenv": ""}, Done(1, "none\n", ""), "podman"),
        ({"/.dockerenv": ""}, Done(127, "", "not installed"), "docker"),
        ({"/.dockerenv": ""}, Done(0, "docker\n", ""), "docker"),
    ],
)
def test_containers_are_refused(files: dict[str, str], answer: Done, container: str, tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {**PLAIN, **files}, {"systemd-detect-virt --container": answer})
    facts = gather(host)
    assert facts.container == container
    assert refusal(host, facts).startswith(f"this is a container ({container}), ")


def test_a_lab_namespace_is_refused_and_named_first(tmp_path: pathlib.Path) -> None:
    host = changed(tmp_path, {"/etc/lowlatency-lab": "", "/.dockerenv": "", "/run/systemd/system/units": None})
    assert refusal(host, gather(host)).startswith("this is a namespace of the lab (/etc/lowlatency-lab is there), ")


def test_a_machine_without_systemd_is_refused(tmp_path: pathlib.Path) -> None:
    host = changed(tmp_path, {"/run/systemd/system/units": None})
    facts = gather(host)
    assert not facts.systemd
    assert "was not booted with systemd" in refusal(host, facts)


@pytest.mark.parametrize(
    ("read_only", "named"),
    [(["/sys"], "/sys can"), (["/proc/sys"], "/proc/sys can"), (["/sys", "/proc/sys"], "/sys and /proc/sys can")],
)
def test_kernel_files_that_can_only_be_read_are_refused(
    read_only: list[str], named: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = plain(tmp_path)
    monkeypatch.setattr(host, "read_only", read_only.__contains__)
    facts = gather(host)
    assert not facts.sys_writable
    assert refusal(host, facts).startswith(f"{named} only be read here")


def test_the_refusals_are_one_sentence(tmp_path: pathlib.Path) -> None:
    host = plain(tmp_path)
    facts = gather(host)
    for broken in ({"container": "lxc"}, {"systemd": False}, {"distribution": "arch"}):
        said = refusal(host, dataclasses.replace(facts, **broken))
        assert said and "\n" not in said and ". " not in said and not said.endswith(".")


def test_this_machine_can_be_looked_at() -> None:
    facts = gather(Host())
    assert len(facts.topology.cpus) == len(expand(pathlib.Path("/sys/devices/system/cpu/online").read_text()))
    assert facts.kernel == os.uname().release
    assert facts.arch == os.uname().machine
    assert facts.memory_kib > 0
