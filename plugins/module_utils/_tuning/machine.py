# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is: facts read from its files, and whether it may be tuned at all. Changes nothing."""

from __future__ import annotations

import os
import re

from . import paths
from .cpu_plan import expand
from .facts import Cpu, Facts, Topology
from .host import Host

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"
_NET = "/sys/class/net"

_X86_FAMILIES = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}
_ARM_IMPLEMENTER = "0x41"  # Arm Ltd.: Cortex-A72 (Graviton) and the Neoverse cores (Graviton2 and later)
_EC2_VENDOR = "Amazon EC2"

#: What routes that refuse name as their interface.
_NO_INTERFACES = ("lo", "*")

#: Whole devices that are no disks: optical and floppy drives.
_NO_DISKS = re.compile(r"(sr|fd)\d+")

#: Distribution to the versions that are supported; the first number counts where only that is given.
SUPPORTED = {
    "debian": "12",
    "ubuntu": "24.04",
    "amzn": "2023",
    "rhel": "9",
    "rocky": "9",
    "almalinux": "9",
    "centos": "9",
}
_SUPPORTED_NAMES = "Debian 12, Ubuntu 24.04, Amazon Linux 2023 and RHEL 9 (also Rocky, AlmaLinux and CentOS Stream)"


def gather(host: Host) -> Facts:
    """Read all that is known of a machine before it is tuned."""
    with host.remembering():
        return _gather(host)


def _gather(host: Host) -> Facts:
    kernel = host.read("/proc/sys/kernel/osrelease") or ""
    processors = _processors(host)
    release = _os_release(host)
    interface = _interface(host)
    return Facts(
        family=_family(host, processors),
        arch=_arch(host, processors),
        distribution=release.get("ID", ""),
        version=release.get("VERSION_ID", ""),
        kernel=kernel,
        kernel_config=_kernel_config(host, kernel),
        topology=topology(host),
        memory_kib=_memory_kib(host),
        interface=interface,
        driver=os.path.basename(host.link(f"{_NET}/{interface}/device/driver") or "") if interface else "",
        disks=_disks(host),
        bootloader=_bootloader(host),
        container=_container(host),
        systemd=host.exists("/run/systemd/system"),
        sys_writable=not _read_only(host),
    )


def refusal(host: Host, facts: Facts) -> str:
    """Why this machine must not be tuned, in one sentence; empty if it may be."""
    if host.exists(paths.LAB_MARK):
        return (
            f"this is a namespace of the lab ({paths.LAB_MARK} is there), which shares its kernel with the lab's host: "
            "tune a machine with a kernel of its own"
        )
    if facts.container:
        return (
            f"this is a container ({facts.container}), which shares its kernel with others: "
            "tune the machine that it runs on"
        )
    read_only = _read_only(host)
    if read_only:
        return f"{' and '.join(read_only)} can only be read here, so no kernel setting could be changed"
    if not facts.systemd:
        return "this machine was not booted with systemd (/run/systemd/system is not there), and its units are needed"
    if not _supported(facts.distribution, facts.version):
        found = f"{facts.distribution} {facts.version}".strip() or "without an os-release file"
        return f"this machine is {found}, and only {_SUPPORTED_NAMES} are supported"
    return ""


def topology(host: Host) -> Topology:
    """The online vCPUs with their cores and nodes."""
    online = expand(host.read(f"{_CPUS}/online") or "") or _counted(host)
    nodes = _nodes(host)
    cpus = []
    for number in online:
        siblings = expand(_siblings(host, number))
        core = min([each for each in siblings if each in online], default=number)
        cpus.append(Cpu(number, core, nodes.get(number, 0)))
    return Topology(tuple(cpus))


def _counted(host: Host) -> tuple[int, ...]:
    """The vCPUs that /proc/cpuinfo lists, for a kernel without hot-plugging."""
    return tuple(int(number) for number in re.findall(r"^processor\s*:\s*(\d+)$", _cpuinfo(host), re.MULTILINE))


def _siblings(host: Host, number: int) -> str:
    """The list of a vCPU's SMT siblings; core_cpus_list is its name since Linux 5.3."""
    folder = f"{_CPUS}/cpu{number}/topology"
    return host.read(f"{folder}/core_cpus_list") or host.read(f"{folder}/thread_siblings_list") or ""


def _nodes(host: Host) -> dict[int, int]:
    """The NUMA node of each vCPU; empty where the kernel knows no nodes."""
    found = {}
    for path in host.glob(f"{_NODES}/node[0-9]*/cpulist"):
        node = int(os.path.basename(os.path.dirname(path))[len("node") :])
        found.update(dict.fromkeys(expand(host.read(path) or ""), node))
    return found


def _cpuinfo(host: Host) -> str:
    return host.read("/proc/cpuinfo") or ""


def _processors(host: Host) -> dict[str, str]:
    """The fields of the first processor of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in _cpuinfo(host).splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            break
        fields[name.strip()] = value.strip()
    return fields


def _arch(host: Host, processor: dict[str, str]) -> str:
    """As uname -m has it: from /proc/sys/kernel/arch (since Linux 6.1), else by what /proc/cpuinfo tells of."""
    if "CPU implementer" in processor:
        return host.read("/proc/sys/kernel/arch") or "aarch64"
    return host.read("/proc/sys/kernel/arch") or ("x86_64" if "vendor_id" in processor else "")


def _family(host: Host, processor: dict[str, str]) -> str:
    """The CPU family that values are chosen by.

    An Arm CPU counts as graviton only on EC2: the catalogue's values for Graviton lean on what its hypervisor and its
    cores do (a fixed frequency, no idle states, no siblings), which holds for no other Arm machine.
    """
    if processor.get("CPU implementer") == _ARM_IMPLEMENTER:
        return "graviton" if host.read("/sys/class/dmi/id/sys_vendor") == _EC2_VENDOR else "other"
    return _X86_FAMILIES.get(processor.get("vendor_id", ""), "other")


def _os_release(host: Host) -> dict[str, str]:
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or ""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _equals, value in pairs}


def _supported(distribution: str, version: str) -> bool:
    wanted = SUPPORTED.get(distribution)
    return wanted is not None and (version == wanted or version.startswith(f"{wanted}."))


def _kernel_config(host: Host, kernel: str) -> dict[str, str]:
    """The options that the running kernel was built with (y, m or a value), where a file says so."""
    text = host.read(f"/boot/config-{kernel}") or host.read(f"/lib/modules/{kernel}/config")
    text = text or host.read_gzip("/proc/config.gz") or ""
    lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value.strip('"') for name, _equals, value in lines}


def _memory_kib(host: Host) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", host.read("/proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) if found else 0


def _interface(host: Host) -> str:
    """The interface of the default route with the lowest metric; early at boot, before there is one, a first device."""
    return _default_route_4(host) or _default_route_6(host) or _first_device(host)


def _default_route_4(host: Host) -> str:
    """Of /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask ..., numbers in hexadecimal."""
    rows = [line.split() for line in (host.read("/proc/net/route") or "").splitlines()[1:]]
    defaults = [row for row in rows if len(row) > 7 and row[1] == row[7] == "00000000" and row[0] not in _NO_INTERFACES]
    return min((int(row[6]), row[0]) for row in defaults)[1] if defaults else ""


def _default_route_6(host: Host) -> str:
    """Of /proc/net/ipv6_route: destination, its length, source, its length, next hop, metric ..., interface, last."""
    rows = [line.split() for line in (host.read("/proc/net/ipv6_route") or "").splitlines()]
    routes = [
        (int(row[5], 16), row[9]) for row in rows if len(row) > 9 and row[1] == "00" and row[9] not in _NO_INTERFACES
    ]
    return min(routes)[1] if routes else ""


def _first_device(host: Host) -> str:
    names = [path.split("/")[-2] for path in host.glob(f"{_NET}/*/device")]
    return min(names, key=_by_number, default="")


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts eth2 before eth10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _disks(host: Host) -> tuple[str, ...]:
    """Whole disks of a real device: no loops, no RAM, nothing stacked, no path of a multipath NVMe disk, none empty."""
    names = [path.split("/")[-2] for path in host.glob("/sys/block/*/device")]
    disks = [
        name
        for name in names
        if not _NO_DISKS.fullmatch(name)
        and host.read(f"/sys/block/{name}/hidden") != "1"
        and host.read(f"/sys/block/{name}/size") != "0"
    ]
    return tuple(sorted(disks, key=_by_number))


def _bootloader(host: Host) -> str:
    if host.exists("/usr/sbin/update-grub") and host.exists("/boot/grub/grub.cfg"):
        return "grub_dropin"
    return "grubby" if host.exists("/usr/sbin/grubby") or host.exists("/usr/bin/grubby") else ""


def _container(host: Host) -> str:
    """What kind of container this is; empty if none."""
    done = host.run(["systemd-detect-virt", "--container"])
    if done.code == 0 and done.output.strip() not in ("", "none"):
        return done.output.strip()
    if host.exists("/run/.containerenv"):
        return "podman"
    return "docker" if host.exists("/.dockerenv") else ""


def _read_only(host: Host) -> list[str]:
    return [path for path in ("/sys", "/proc/sys") if host.read_only(path)]
