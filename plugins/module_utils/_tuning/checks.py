# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks without a change: what slows a machine down, or fights with its tuning, and is not for a knob to decide.

They look at files and at what a few commands print, start nothing and write nothing.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from . import paths
from .checks_proxy import proxy_timeouts
from .cpu_plan import compact
from .facts import CpuPlan, Facts
from .host import Host

OK = "ok"
WARNING = "warning"
NOT_APPLICABLE = "not_applicable"

#: Steal time above the first share of all time since boot is worth a word: a dedicated vCPU has none. Only the highest
#: share that is exceeded is told, so that two runs tell the same.
_STEAL_SHARES = (0.001, 0.01, 0.1)
#: A container engine that hangs must not hang us.
_PATIENCE_S = "10"
_CONTAINER_FIELDS = (".Name", *(f".HostConfig.{name}" for name in ("NetworkMode", "NanoCpus", "CpuQuota", "CpuPeriod")))
_CONTAINER_FORM = "\t".join(f"{{{{{name}}}}}" for name in _CONTAINER_FIELDS)
_CGROUP = "/sys/fs/cgroup"
#: Drivers that DPDK has a poll mode driver for and that EC2 or QEMU have.
_DPDK_DRIVERS = ("ena", "ixgbevf", "virtio_net")


@dataclasses.dataclass(frozen=True)
class Check:
    """What a check found. status: ok, warning or not_applicable; reason: one sentence, always there."""

    id: str
    status: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)


Verdict = tuple[str, str]
CheckFunction = t.Callable[[Host, Facts, CpuPlan], Verdict]


def run_checks(host: Host, facts: Facts, plan: CpuPlan) -> tuple[Check, ...]:
    """All checks, in a steady order."""
    with host.remembering():
        return tuple(Check(name, *check(host, facts, plan)) for name, check in CHECKS.items())


class Container(t.NamedTuple):
    """A running container. cpus: its CPU quota in CPUs, 0 for none."""

    name: str
    network: str
    cpus: float


def containers(host: Host) -> tuple[tuple[Container, ...], str]:
    """The running containers of docker, or why it cannot be asked.

    Only a daemon that runs is asked: its socket would start one that does not.
    """
    if not host.exists("/run/docker.pid"):
        return (), "no docker daemon runs here"
    listed = host.run(["timeout", _PATIENCE_S, "docker", "ps", "--quiet", "--no-trunc"])
    if listed.code != 0:
        return (), f"docker does not answer (code {listed.code})"
    numbers = listed.output.split()
    if not numbers:
        return (), ""
    told = host.run(["timeout", _PATIENCE_S, "docker", "inspect", "--format", _CONTAINER_FORM, *numbers])
    # A container that ended since the first call makes docker answer with a code, and still tell of the others.
    found = [line.split("\t") for line in told.output.splitlines() if line.count("\t") == 4]
    if not found:
        return (), f"docker inspect does not answer (code {told.code})"
    return tuple(Container(name.lstrip("/"), network, _cpus(*quota)) for name, network, *quota in found), ""


def _cpus(nano: str, quota_us: str, period_us: str) -> float:
    """CPUs of --cpus (in 1e-9), or of --cpu-quota and --cpu-period (whose default is 100 ms)."""
    if int(nano) > 0:
        return int(nano) / 1e9
    return int(quota_us) / (int(period_us) or 100_000) if int(quota_us) > 0 else 0.0


def _docker_network(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    found, reason = containers(host)
    if reason:
        return NOT_APPLICABLE, reason
    bridged = [each for each in found if each.network not in ("host", "none")]
    if not bridged:
        return OK, f"none of the {len(found)} running containers goes through a bridge"
    listed = ", ".join(f"{each.name} ({each.network})" for each in bridged)
    return WARNING, (
        f"packets of {listed} go through a bridge and address translation: give containers that are critical for "
        "latency the host's network (--network host)"
    )


def _cpu_quota(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    limited = [f"container {each.name} to {each.cpus:g} CPUs" for each in containers(host)[0] if each.cpus]
    if host.exists(f"{_CGROUP}/cgroup.controllers"):
        limited += _quotas(host)
    elif not limited:
        return NOT_APPLICABLE, "no cgroup v2 hierarchy is mounted"
    if not limited:
        return OK, "no service and no container has a CPU quota"
    return WARNING, (
        f"a CPU quota limits {', '.join(limited)}: "
        "once it is used up, all threads stop until the period (mostly 100 ms) ends"
    )


def _quotas(host: Host) -> list[str]:
    """The groups of the first three levels (slice, service or scope, and what lies in it) that have a quota."""
    found = []
    for pattern in ("*", "*/*", "*/*/*"):
        for path in host.glob(f"{_CGROUP}/{pattern}/cpu.max"):
            quota, _blank, period = (host.read(path) or "max").partition(" ")
            if quota.isdecimal() and period.isdecimal():
                name = path[len(_CGROUP) + 1 : -len("/cpu.max")]
                # A container's own scope was named already, by its name.
                if not re.search(r"docker[-/][0-9a-f]{64}", name):
                    found.append(f"{name} to {int(quota) / int(period):g} CPUs")
    return found


def _proxy_timeouts(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    looked, short = proxy_timeouts(host)
    if not looked:
        return NOT_APPLICABLE, "neither nginx nor HAProxy is configured here"
    if short:
        return WARNING, f"long-lived WebSockets would be cut: {'; '.join(short)}"
    return OK, f"{' and '.join(looked)} leave long-lived WebSockets alone"


def _nic_numa(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    nodes = {cpu.number: cpu.node for cpu in facts.topology.cpus}
    if len(set(nodes.values())) < 2:
        return NOT_APPLICABLE, "this machine has a single NUMA node"
    if not plan.isolated:
        return NOT_APPLICABLE, plan.reason or "no vCPU is isolated"
    text = host.read(f"/sys/class/net/{facts.interface}/device/numa_node") if facts.interface else None
    if text is None or not text.strip().isdecimal():
        return NOT_APPLICABLE, f"{facts.interface or 'the interface'} does not say which NUMA node it belongs to"
    node = int(text)
    near = [number for number in plan.isolated if nodes.get(number) == node]
    if near:
        return OK, f"{facts.interface} belongs to NUMA node {node}, as the isolated vCPUs {compact(near)} do"
    return WARNING, (
        f"{facts.interface} belongs to NUMA node {node}, and all isolated vCPUs ({compact(plan.isolated)}) to others: "
        "every packet crosses the nodes; give housekeeping another number of vCPUs, or choose a size with one node"
    )


def _ena_express(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    if facts.driver != "ena":
        return NOT_APPLICABLE, "the interface is no ENA"
    told = host.run(["ethtool", "-S", facts.interface])
    found = re.search(r"^\s*ena_srd_mode:\s*(\d+)", told.output, re.MULTILINE)
    if told.code != 0 or found is None:
        return NOT_APPLICABLE, f"{facts.interface} has no statistics about ENA Express"
    # 0: off; 1: on for TCP; 3: for UDP too; 2: UDP asked for, and all of it off.
    if found[1] in ("0", "2"):
        return OK, f"ENA Express is off on {facts.interface}"
    return WARNING, (
        f"ENA Express is on (ena_srd_mode {found[1]}): while traffic is light it adds tens of microseconds to the "
        "median, says AWS; it is switched off by ModifyNetworkInterfaceAttribute, not in here"
    )


def _steal_time(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    """Fields of /proc/stat in ticks: user nice system idle iowait irq softirq steal guest guest_nice."""
    fields = (host.read("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or not all(field.isdecimal() for field in fields[1:9]):
        return NOT_APPLICABLE, "the kernel does not count steal time"
    ticks = [int(field) for field in fields[1:9]]
    share = ticks[7] / (sum(ticks) or 1)
    exceeded = [each for each in _STEAL_SHARES if share > each]
    if not exceeded:
        return OK, "the hypervisor takes no vCPU away to speak of"
    return WARNING, (
        f"for more than {exceeded[-1]:.1%} of the time since boot the hypervisor ran others instead (steal time): a "
        "burstable or overcommitted instance cannot be tuned to a steady latency"
    )


def _swap(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    areas = [line.split()[0] for line in (host.read("/proc/swaps") or "").splitlines()[1:] if line.strip()]
    if not areas:
        return OK, "no swap is in use"
    return (
        WARNING,
        f"swap is on ({', '.join(areas)}): a page that was moved there costs a disk access when it is touched",
    )


def _tuned(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    if host.run(["systemctl", "is-active", "--quiet", "tuned.service"]).code != 0:
        return NOT_APPLICABLE, "tuned does not run here"
    profile = (host.read("/etc/tuned/active_profile") or "").strip()
    if not profile:
        return OK, "tuned runs without a profile"
    return WARNING, (
        f"tuned runs beside us with the profile {profile}, and sets some of the same things whenever it starts: "
        "switch it off (tuned-adm off), or put what differs into knobs"
    )


def _sysctl_files(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    ours = _assignments(host.read(paths.SYSCTL) or "")
    if not ours:
        return NOT_APPLICABLE, "no sysctl of ours is written"
    fights = []
    for path in _later_files(host):
        for name, value in _assignments(host.read(path) or "").items():
            if name in ours and ours[name].split() != value.split():
                fights.append(f"{path} sets {name} to {value}, and we to {ours[name]}")
    if not fights:
        return OK, "no other file sets one of our sysctls to another value after us"
    return WARNING, f"files that are read after ours win: {'; '.join(fights)}"


def _later_files(host: Host) -> list[str]:
    """What systemd-sysctl reads after our file (by name, whatever the folder), and C(sysctl --system) last of all."""
    folders = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
    ours = paths.SYSCTL.rsplit("/", 1)[1]
    seen: dict[str, str] = {}
    for folder in folders:
        for path in host.glob(f"{folder}/*.conf"):
            # A file of an earlier folder hides those of the same name.
            seen.setdefault(path.rsplit("/", 1)[1], path)
    later = [path for name, path in sorted(seen.items()) if name > ours]
    return [*later, "/etc/sysctl.conf"] if host.exists("/etc/sysctl.conf") else later


def _assignments(text: str) -> dict[str, str]:
    """The assignments of a sysctl.d file, the last of each name. A dash in front means that errors do not matter."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and not name.startswith(("#", ";")):
            found[name.strip().lstrip("-").replace("/", ".")] = value.strip()
    return found


def _tw_reuse(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    reuse = host.read("/proc/sys/net/ipv4/tcp_tw_reuse")
    stamps = host.read("/proc/sys/net/ipv4/tcp_timestamps")
    if reuse is None or stamps is None:
        return NOT_APPLICABLE, "the kernel has no such setting"
    if reuse.strip() == "1" and stamps.strip() == "0":
        return WARNING, (
            "tcp_tw_reuse is 1 and tcp_timestamps is 0 (a hardening role sets it so): without timestamps no port in "
            "TIME_WAIT is taken again, and many short connections end in EADDRNOTAVAIL"
        )
    return OK, "ports in TIME_WAIT are taken again, or nobody relies on it"


def _kernel_bypass(host: Host, facts: Facts, plan: CpuPlan) -> Verdict:
    loaded = host.exists("/sys/module/vfio_pci")
    asked = "vfio-pci" in f"{host.read('/proc/cmdline') or ''} {host.read(paths.GRUB_DROPIN) or ''}"
    if not loaded and not asked:
        return NOT_APPLICABLE, "vfio-pci is neither loaded nor asked for (the group kernel_bypass loads it)"
    machine = (host.read("/sys/devices/virtual/dmi/id/product_name") or "this machine").strip()
    lacking = [*_bypass_nic(host, facts), *_bypass_memory(host)]
    if not loaded:
        lacking.append("vfio-pci is loaded with the next boot")
    if lacking:
        return WARNING, f"{machine} is not ready for DPDK: {'; '.join(lacking)}"
    return OK, f"{machine} with {facts.driver} is ready for DPDK; no NIC was taken from its driver"


def _bypass_nic(host: Host, facts: Facts) -> t.Iterator[str]:
    if facts.driver not in _DPDK_DRIVERS:
        yield f"the driver {facts.driver or 'of its NIC'} is not one of {', '.join(_DPDK_DRIVERS)}"
    if len(host.glob("/sys/class/net/*/device")) < 2:
        yield "it has one NIC, and taking that one ends this connection: attach a second one"
    unsafe = (host.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") or "N").strip()
    if not host.glob("/sys/kernel/iommu_groups/*") and unsafe not in ("Y", "1"):
        yield "it has no IOMMU, and the knob vfio_noiommu is off"


def _bypass_memory(host: Host) -> t.Iterator[str]:
    found = re.search(r"^HugePages_Total:\s+(\d+)", host.read("/proc/meminfo") or "", re.MULTILINE)
    if (found is None or found[1] == "0") and not any(
        (host.read(path) or "0") != "0" for path in host.glob("/sys/kernel/mm/hugepages/*/nr_hugepages")
    ):
        yield "it has no huge pages (the group memory makes them)"


CHECKS: dict[str, CheckFunction] = {
    "docker_network": _docker_network,
    "cpu_quota": _cpu_quota,
    "proxy_timeouts": _proxy_timeouts,
    "nic_numa": _nic_numa,
    "ena_express": _ena_express,
    "steal_time": _steal_time,
    "swap": _swap,
    "tuned": _tuned,
    "sysctl_files": _sysctl_files,
    "tw_reuse": _tw_reuse,
    "kernel_bypass": _kernel_bypass,
}
