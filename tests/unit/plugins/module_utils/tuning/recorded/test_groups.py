# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The groups cpu, boot, memory and network on machines of each family, against the values of a stock Debian 12."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.contradictions import contradictions
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.sysctl import Sysctl, file_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import FAMILIES, Setting
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.resolve import resolve
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.wishes import Wish
from support.recorded import recorded_facts, recorded_host

GROUPS = ("cpu", "boot", "memory", "network")
MINE = [knob for knob in ALL.values() if knob.group in GROUPS]
OPTIONS = [knob.id for knob in MINE if not knob.enabled]

#: Read on Debian 12, Linux 6.1, 1 GiB, before anything was tuned.
STOCK = {
    "kernel.timer_migration": "1",
    "kernel.watchdog": "1",
    "kernel.nmi_watchdog": "0",
    "kernel.sched_rt_runtime_us": "950000",
    "kernel.sched_autogroup_enabled": "0",
    "kernel.hung_task_timeout_secs": "120",
    "vm.nr_hugepages": "0",
    "kernel.numa_balancing": "0",
    "vm.zone_reclaim_mode": "0",
    "vm.swappiness": "60",
    "vm.min_free_kbytes": "45056",
    "vm.stat_interval": "1",
    "vm.compaction_proactiveness": "20",
    "vm.compact_unevictable_allowed": "1",
    "vm.dirty_background_ratio": "10",
    "vm.dirty_ratio": "20",
    "vm.dirty_background_bytes": "0",
    "vm.dirty_bytes": "0",
    "vm.dirty_writeback_centisecs": "500",
    "vm.watermark_boost_factor": "15000",
    "vm.vfs_cache_pressure": "100",
    "net.core.busy_poll": "0",
    "net.core.busy_read": "0",
    "net.core.rmem_max": "212992",
    "net.core.wmem_max": "212992",
    "net.core.rmem_default": "212992",
    "net.ipv4.tcp_rmem": "4096 131072 6291456",
    "net.ipv4.tcp_wmem": "4096 16384 4194304",
    "net.ipv4.tcp_slow_start_after_idle": "1",
    "net.ipv4.tcp_autocorking": "1",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_mtu_probing": "0",
    "net.ipv4.tcp_keepalive_time": "7200",
    "net.ipv4.tcp_keepalive_intvl": "75",
    "net.ipv4.tcp_keepalive_probes": "9",
    "net.ipv4.tcp_fastopen": "1",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_dsack": "1",
    "net.ipv4.tcp_notsent_lowat": "4294967295",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.tcp_no_metrics_save": "0",
    "net.core.somaxconn": "4096",
    "net.core.netdev_max_backlog": "1000",
    "net.core.netdev_budget": "300",
    "net.core.optmem_max": "20480",
    "net.core.gro_normal_batch": "8",
    "net.core.default_qdisc": "fq_codel",
}

#: Options that cannot be had beside the defaults: a person has to choose, and is told so.
CHOICES = {
    "timestamps_off": {"tcp_timestamps", "tcp_tw_reuse"},
    "dirty_bytes": {"dirty_ratio"},
    "dirty_background_bytes": {"dirty_background_ratio"},
    "idle_poll": {"intel_idle_max_cstate", "processor_max_cstate"},
    "cpuidle_off": {"intel_idle_max_cstate", "processor_max_cstate"},
    "intel_pstate_disable": {"min_perf_pct"},
}


def settings(family: str, **knobs: bool) -> list[Setting]:
    facts = recorded_facts(family=family, arch="aarch64" if family == "graviton" else "x86_64", kernel_config={})
    resolved = resolve(Wish(groups=GROUPS, knobs=knobs), facts, plan_cpus(facts.topology), ALL)
    assert not resolved.problems
    return list(resolved.settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_agree_with_each_other(family: str) -> None:
    facts = recorded_facts(family=family)
    assert contradictions(settings(family), facts) == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_agrees_with_the_defaults_or_says_what_it_excludes(family: str, option: str) -> None:
    facts = recorded_facts(family=family)
    alone = settings(family, **{option: True})
    if option not in {setting.id for setting in alone}:
        assert family != "intel" or option in ("nohz_full_patience",)
        return
    left_out = dict.fromkeys(CHOICES.get(option, ()), False)
    if family == "intel":
        assert bool(contradictions(alone, facts)) is bool(left_out) or option == "idle_poll"
    chosen = settings(family, **{option: True, **left_out, **({"smt_off": True} if option == "idle_poll" else {})})
    assert contradictions(chosen, facts) == []


def test_c_states_and_frequencies_are_intels_only() -> None:
    intel_only = {setting.id for setting in settings("intel")} - {setting.id for setting in settings("amd")}
    assert intel_only == {
        *("governor", "min_perf_pct", "energy_perf_bias"),
        *("intel_idle_max_cstate", "processor_max_cstate"),
    }
    assert {setting.id for setting in settings("amd")} - {setting.id for setting in settings("graviton")} == {
        "clocksource_tsc",
        "tsc_reliable",
    }


def test_busy_polling_is_shorter_on_graviton_and_huge_pages_are_left_to_those_who_ask() -> None:
    wanted = {setting.id: setting.value for setting in settings("graviton")}
    assert (wanted["busy_poll"], wanted["busy_read"], wanted["thp"]) == ("25", "25", "madvise")
    wanted = {setting.id: setting.value for setting in settings("amd")}
    assert (wanted["busy_poll"], wanted["busy_read"], wanted["thp"]) == ("50", "50", "never")


def test_every_sysctl_is_one_that_a_stock_kernel_has() -> None:
    assert {knob.target for knob in MINE if knob.means == "sysctl"} == set(STOCK)


@pytest.mark.parametrize("name", ["net.core.rmem_max", "net.core.wmem_max", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"])
def test_buffers_are_never_made_smaller_than_stock(name: str) -> None:
    """As one reference does with the highest of tcp_rmem."""
    value = next(setting.value for setting in settings("intel") if setting.knob.target == name)
    assert all(int(ours) >= int(stock) for ours, stock in zip(value.split(), STOCK[name].split()))


def test_all_sysctls_are_applied_persisted_and_turned_back(tmp_path: pathlib.Path) -> None:
    means, facts = Sysctl(), recorded_facts()
    host = recorded_host(tmp_path, {file_of(name): value + "\n" for name, value in STOCK.items()})
    wanted = [setting for setting in settings("intel") if setting.knob.means == "sysctl"]
    originals = {setting.id: dict(means.read(host, facts, setting).running) for setting in wanted}
    for setting in wanted:
        means.apply(host, facts, setting)
    means.persist(host, facts, wanted)
    readings = [means.read(host, facts, setting) for setting in wanted]
    assert all(reading.runs and reading.persisted for reading in readings)
    for setting in wanted:
        means.restore(host, facts, setting, originals[setting.id])
    means.persist(host, facts, [])
    assert {name: host.read(file_of(name)) for name in STOCK} == STOCK


@pytest.mark.parametrize("knob", MINE, ids=lambda knob: knob.id)
def test_a_knob_says_what_it_does_where_it_is_from_and_why_it_is_off(knob: object) -> None:
    assert knob.summary and knob.source  # type: ignore[attr-defined]
    assert knob.enabled is ("Off: " not in knob.summary)  # type: ignore[attr-defined]
