# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks without a change, over recorded files: each warns, is content, or says why it does not apply."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.checks import (
    CHECKS,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Check,
    run_checks,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.checks_proxy import LONG_S, seconds
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, CpuPlan, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import GRUB_DROPIN, SYSCTL
from support.recorded import Link, recorded_host

NAME = "a1" * 32
DOCKER = "timeout 10 docker ps --quiet --no-trunc"
INSPECT = "timeout 10 docker inspect"
TUNED = "systemctl is-active --quiet tuned.service"
CGROUP = "/sys/fs/cgroup"
PLAN = CpuPlan((0, 1), (2, 3, 4, 5, 6, 7))


def facts(nodes: int = 2, driver: str = "ena", interface: str = "ens5") -> Facts:
    cpus = tuple(Cpu(number, number, number * nodes // 8) for number in range(8))
    return Facts("intel", "x86_64", "amzn", "2023", "6.1.0", {}, Topology(cpus), 1 << 22, interface, driver)


class Case(t.NamedTuple):
    check: str
    status: str
    told: str
    files: dict[str, str]
    commands: dict[t.Any, Done]
    facts: Facts = facts()
    plan: CpuPlan = PLAN


def docker(*containers: str) -> dict[t.Any, Done]:
    """What docker answers about containers, each as NAME MODE NANO QUOTA PERIOD."""
    lines = "".join("\t".join(f"/{container}".split()) + "\n" for container in containers)
    numbers = "".join(f"{number:064x}\n" for number in range(len(containers)))
    return {DOCKER: Done(0, numbers, ""), INSPECT: Done(0, lines, "")}


RUNS = {"/run/docker.pid": "812"}
V2 = {f"{CGROUP}/cgroup.controllers": "cpuset cpu io memory pids"}
NGINX = "/etc/nginx/conf.d/feed.conf"
HAPROXY = "/etc/haproxy/haproxy.cfg"
UPGRADE = "location / { proxy_pass http://b; proxy_set_header Upgrade $http_upgrade;"
NODE = "/sys/class/net/ens5/device/numa_node"
SRD = "NIC statistics:\n     tx_timeout: 0\n     ena_srd_mode: {}\n     ena_srd_tx_pkts: 0\n"
OURS = {SYSCTL: "# ours\nnet.core.busy_poll = 50\nnet.ipv4.tcp_rmem = 4096 131072 6291456\n"}
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
REUSE, STAMPS = "/proc/sys/net/ipv4/tcp_tw_reuse", "/proc/sys/net/ipv4/tcp_timestamps"
BYPASS = {
    "/sys/module/vfio_pci/initstate": "live",
    "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y",
    "/sys/class/net/ens5/device/vendor": "0x1d0f",
    "/sys/class/net/ens6/device/vendor": "0x1d0f",
    "/proc/meminfo": "MemTotal: 16000000 kB\nHugePages_Total:    1024\n",
    "/sys/devices/virtual/dmi/id/product_name": "c7i.4xlarge",
}


def without(path: str, **changes: str) -> dict[str, str]:
    return {name: text for name, text in BYPASS.items() if name != path}


CASES = (
    Case("docker_network", NOT_APPLICABLE, "no docker daemon runs here", {}, docker("app bridge 0 0 0")),
    Case("docker_network", NOT_APPLICABLE, "docker does not answer (code 124)", RUNS, {DOCKER: Done(124, "", "")}),
    Case("docker_network", OK, "none of the 0 running containers", RUNS, {DOCKER: Done(0, "", "")}),
    Case("docker_network", OK, "none of the 2", RUNS, docker("app host 0 0 0", "job none 0 0 0")),
    Case(
        "docker_network",
        WARNING,
        "feed (bridge), db (my_net)",
        RUNS,
        docker("app host 0 0 0", "feed bridge 0 0 0", "db my_net 0 0 0"),
    ),
    Case(
        "docker_network",
        NOT_APPLICABLE,
        "docker inspect does not answer",
        RUNS,
        {DOCKER: Done(0, "ab\n", ""), INSPECT: Done(1, "", "gone")},
    ),
    Case("cpu_quota", NOT_APPLICABLE, "no cgroup v2", {}, {}),
    Case("cpu_quota", OK, "no service and no container", {**V2, f"{CGROUP}/system.slice/cpu.max": "max 100000"}, {}),
    Case(
        "cpu_quota",
        WARNING,
        "system.slice/feed.service to 1.5 CPUs",
        {**V2, f"{CGROUP}/system.slice/feed.service/cpu.max": "150000 100000"},
        {},
    ),
    Case("cpu_quota", WARNING, "user.slice to 0.5 CPUs", {**V2, f"{CGROUP}/user.slice/cpu.max": "50000 100000"}, {}),
    Case("cpu_quota", WARNING, "container feed to 2 CPUs", {**V2, **RUNS}, docker("feed host 2000000000 0 0")),
    Case("cpu_quota", WARNING, "container feed to 0.5 CPUs", {**V2, **RUNS}, docker("feed host 0 50000 100000")),
    Case("cpu_quota", WARNING, "container feed to 0.5 CPUs", {**V2, **RUNS}, docker("feed host 0 50000 0")),
    Case(
        "cpu_quota",
        OK,
        "no service and no container",
        {**V2, **RUNS, f"{CGROUP}/system.slice/docker-{NAME}.scope/cpu.max": "max 100000"},
        docker("feed host 0 0 0"),
    ),
    Case("proxy_timeouts", NOT_APPLICABLE, "neither nginx nor HAProxy", {}, {}),
    Case("proxy_timeouts", OK, "nginx leave", {NGINX: "location / { proxy_pass http://b; }"}, {}),
    Case("proxy_timeouts", OK, "nginx", {NGINX: UPGRADE + " proxy_read_timeout 1h; }"}, {}),
    Case("proxy_timeouts", WARNING, "nginx's own proxy_read_timeout of 60s", {NGINX: UPGRADE + " }"}, {}),
    Case(
        "proxy_timeouts",
        WARNING,
        f"{NGINX} has proxy_read_timeout 90s",
        {NGINX: UPGRADE + " proxy_read_timeout 90s; }"},
        {},
    ),
    Case("proxy_timeouts", OK, "nginx", {NGINX: "# proxy_read_timeout 5s;\n"}, {}),
    Case(
        "proxy_timeouts",
        WARNING,
        "timeout client 50000",
        {HAPROXY: "defaults\n    timeout client 50000\n    timeout server 1h\n"},
        {},
    ),
    Case(
        "proxy_timeouts",
        OK,
        "HAProxy",
        {HAPROXY: "    timeout client 30s\n    timeout tunnel 1h\n    timeout connect 5s\n"},
        {},
    ),
    Case(
        "proxy_timeouts",
        WARNING,
        "timeout tunnel 1m",
        {HAPROXY: "    timeout client 1h\n    timeout tunnel 1m # short\n"},
        {},
    ),
    Case("nic_numa", NOT_APPLICABLE, "a single NUMA node", {NODE: "0"}, {}, facts(nodes=1)),
    Case(
        "nic_numa", NOT_APPLICABLE, "2 physical cores", {NODE: "0"}, {}, facts(), CpuPlan((0,), (), "2 physical cores")
    ),
    Case("nic_numa", NOT_APPLICABLE, "ens5 does not say", {NODE: "-1"}, {}),
    Case("nic_numa", NOT_APPLICABLE, "ens5 does not say", {}, {}),
    Case("nic_numa", OK, "ens5 belongs to NUMA node 0, as the isolated vCPUs 2-3 do", {NODE: "0"}, {}),
    Case(
        "nic_numa",
        WARNING,
        "all isolated vCPUs (4-7) to others",
        {NODE: "0"},
        {},
        facts(),
        CpuPlan((0, 1, 2, 3), (4, 5, 6, 7)),
    ),
    Case("ena_express", NOT_APPLICABLE, "no ENA", {}, {}, facts(driver="virtio_net")),
    Case("ena_express", NOT_APPLICABLE, "no statistics", {}, {"ethtool -S ens5": Done(0, "NIC statistics:\n", "")}),
    Case("ena_express", NOT_APPLICABLE, "no statistics", {}, {}),
    Case("ena_express", OK, "is off", {}, {"ethtool -S ens5": Done(0, SRD.format(0), "")}),
    Case("ena_express", OK, "is off", {}, {"ethtool -S ens5": Done(0, SRD.format(2), "")}),
    Case("ena_express", WARNING, "ena_srd_mode 1", {}, {"ethtool -S ens5": Done(0, SRD.format(1), "")}),
    Case("steal_time", NOT_APPLICABLE, "does not count", {}, {}),
    Case("steal_time", OK, "takes no vCPU away", {"/proc/stat": "cpu  500 0 300 90000 10 0 5 40 0 0\ncpu0 1 2 3"}, {}),
    Case("steal_time", WARNING, "more than 1.0% of", {"/proc/stat": "cpu  500 0 300 8195 0 0 5 1000 0 0\n"}, {}),
    Case("steal_time", WARNING, "more than 10.0% of", {"/proc/stat": "cpu  500 0 300 8195 0 0 5 1001 0 0\n"}, {}),
    Case("steal_time", WARNING, "more than 0.1% of", {"/proc/stat": "cpu  500 0 300 8195 0 0 5 50 0 0\n"}, {}),
    Case("swap", OK, "no swap", {"/proc/swaps": SWAPS}, {}),
    Case(
        "swap",
        WARNING,
        "/dev/zram0, /swapfile",
        {"/proc/swaps": SWAPS + "/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n"},
        {},
    ),
    Case("tuned", NOT_APPLICABLE, "does not run", {"/etc/tuned/active_profile": "aws"}, {TUNED: Done(3, "", "")}),
    Case("tuned", OK, "without a profile", {}, {TUNED: Done(0, "", "")}),
    Case("tuned", WARNING, "with the profile aws", {"/etc/tuned/active_profile": "aws\n"}, {TUNED: Done(0, "", "")}),
    Case("sysctl_files", NOT_APPLICABLE, "no sysctl of ours", {"/etc/sysctl.conf": "net.core.busy_poll = 0"}, {}),
    Case("sysctl_files", OK, "no other file", {**OURS, "/etc/sysctl.d/10-first.conf": "net.core.busy_poll = 0"}, {}),
    Case(
        "sysctl_files",
        OK,
        "no other file",
        {**OURS, "/etc/sysctl.conf": "# net.core.busy_poll = 0\nnet.ipv4.tcp_rmem=4096\t131072 6291456"},
        {},
    ),
    Case(
        "sysctl_files",
        WARNING,
        "/etc/sysctl.conf sets net.core.busy_poll to 0, and we to 50",
        {**OURS, "/etc/sysctl.conf": "net/core/busy_poll=0"},
        {},
    ),
    Case(
        "sysctl_files",
        WARNING,
        "/usr/lib/sysctl.d/zz-vendor.conf sets net.core.busy_poll to 0",
        {**OURS, "/usr/lib/sysctl.d/zz-vendor.conf": "-net.core.busy_poll = 0"},
        {},
    ),
    Case(
        "sysctl_files",
        OK,
        "no other file",
        {
            **OURS,
            "/usr/lib/sysctl.d/zz-vendor.conf": "net.core.busy_poll = 0",
            "/etc/sysctl.d/zz-vendor.conf": Link("/dev/null"),
        },
        {},
    ),
    Case("tw_reuse", NOT_APPLICABLE, "no such setting", {REUSE: "1"}, {}),
    Case("tw_reuse", OK, "ports in TIME_WAIT", {REUSE: "1", STAMPS: "1"}, {}),
    Case("tw_reuse", OK, "ports in TIME_WAIT", {REUSE: "2", STAMPS: "0"}, {}),
    Case("tw_reuse", WARNING, "EADDRNOTAVAIL", {REUSE: "1", STAMPS: "0"}, {}),
    Case("kernel_bypass", NOT_APPLICABLE, "neither loaded nor asked for", {"/proc/cmdline": "quiet"}, {}),
    Case("kernel_bypass", OK, "c7i.4xlarge with ena is ready for DPDK", BYPASS, {}),
    Case(
        "kernel_bypass",
        WARNING,
        "loaded with the next boot",
        {**without("/sys/module/vfio_pci/initstate"), GRUB_DROPIN: "modules_load=vfio-pci"},
        {},
    ),
    Case("kernel_bypass", WARNING, "it has one NIC", without("/sys/class/net/ens6/device/vendor"), {}),
    Case("kernel_bypass", WARNING, "no huge pages", without("/proc/meminfo"), {}),
    Case("kernel_bypass", WARNING, "no IOMMU", without("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"), {}),
    Case(
        "kernel_bypass",
        OK,
        "ready",
        {**without("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"), "/sys/kernel/iommu_groups/0/type": "DMA"},
        {},
    ),
    Case(
        "kernel_bypass",
        OK,
        "ready",
        {**without("/proc/meminfo"), "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "2"},
        {},
    ),
    Case("kernel_bypass", WARNING, "the driver e1000 is not one of", BYPASS, {}, facts(driver="e1000")),
)


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.check}-{case.status}-{number}" for number, case in enumerate(CASES)]
)
def test_a_check(case: Case, tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, case.files, case.commands)
    found = {check.id: check for check in run_checks(host, case.facts, case.plan)}[case.check]
    assert (found.status, case.told in found.reason) == (case.status, True), found
    assert "\n" not in found.reason and found.reason


def test_every_check_is_seen_both_ways() -> None:
    seen = {(case.check, case.status) for case in CASES}
    assert seen >= {(name, status) for name in CHECKS for status in (OK, WARNING)}
    assert {case.check for case in CASES} == set(CHECKS)


def test_checks_on_a_bare_machine_change_nothing_and_start_nothing(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {}, {})
    found = run_checks(host, facts(), PLAN)
    assert [check.id for check in found] == list(CHECKS)
    assert all(check.status in (OK, NOT_APPLICABLE) for check in found)
    assert (host.writes, host.removed) == ([], [])
    assert not any("docker" in command for command in host.ran)


def test_docker_is_asked_once_for_all_checks(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, RUNS, docker("feed host 0 0 0"))
    run_checks(host, facts(), PLAN)
    assert sum("ps" in command for command in host.ran) == 1
    assert sum("inspect" in command for command in host.ran) == 1


def test_a_check_as_a_dictionary() -> None:
    assert Check("swap", OK, "no swap is in use").as_dict() == {
        "id": "swap",
        "status": "ok",
        "reason": "no swap is in use",
    }


@pytest.mark.parametrize(
    ("text", "bare_s", "found"),
    [
        ("60", 1.0, 60.0),
        ("50000", 1e-3, 50.0),
        ("500ms", 1.0, 0.5),
        ("1h30m", 1.0, 5400.0),
        ("1h 30m", 1.0, 5400.0),
        ("10d", 1e-3, 864000.0),
        ("$timeout", 1.0, None),
        ("", 1.0, None),
    ],
)
def test_times_of_proxies(text: str, bare_s: float, found: float | None) -> None:
    assert seconds(text, bare_s) == (pytest.approx(found) if found is not None else None)
    assert LONG_S > 300
