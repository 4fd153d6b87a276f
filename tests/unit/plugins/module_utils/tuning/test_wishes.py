# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wishes: everything that is wrong with one is named at once, with its option and value, and a good one passes."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import wishes
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL, DEFAULT_GROUPS
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.contradictions import (
    MOST_HUGEPAGES,
    contradictions,
    hugepages_kib,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import compact, plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, CpuPlan, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means import (
    chrony,
    limits,
    nic_ethtool,
    nic_queues,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import BOOT, NOW, InvalidInput, Knob, Setting
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.wishes import Wish, extra_knob, shape_problems
from hypothesis import given
from hypothesis import strategies as st

GIB = 1024 * 1024


def machine(vcpus: int = 8, siblings: int = 2, nodes: int = 1, memory_kib: int = 4 * GIB) -> Facts:
    """A machine of whole cores, its SMT siblings side by side."""
    cpus = tuple(Cpu(number, number // siblings * siblings, number * nodes // vcpus) for number in range(vcpus))
    return Facts("intel", "x86_64", "debian", "12", "6.1.0-38-cloud-amd64", {}, Topology(cpus), memory_kib)


def own(means: str, target: str, value: str = "1", name: str = "own", **more: t.Any) -> Knob:
    effect = BOOT if means == "cmdline" else NOW
    return Knob(name, "mine", means, target, value, "A knob", "a test", **{"effect": effect, **more})


def setting(means: str, target: str, value: str) -> Setting:
    name = "".join(letter if letter.isalnum() else "_" for letter in target).strip("_").lower()
    return Setting(own(means, target, value, name), value)


def wrong(wish: Wish, facts: Facts | None = None) -> str:
    """What is said of a wish; it must be one line and it must raise."""
    facts = facts or machine()
    with pytest.raises(InvalidInput) as raised:
        wishes.validate(wish, facts, CpuPlan((0, 1), (2, 3)), ())
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_good_wish_passes() -> None:
    knob = own("sysctl", "net.core.somaxconn", "{connections}")
    wish = Wish(
        groups=(*DEFAULT_GROUPS, "kernel_bypass", "mine"),
        knobs={"bpf_jit": "1", "vfio_pci": False, "hugepages_1g": True},
        extra_knobs=(knob,),
        housekeeping=2,
        parameters={"connections": "4096"},
    )
    facts = machine()
    wishes.validate(wish, facts, plan_cpus(facts.topology, 2), [Setting(knob, "4096")])


def test_the_catalogue_by_itself_is_a_good_wish() -> None:
    assert shape_problems(Wish(groups=DEFAULT_GROUPS, knobs=dict.fromkeys(ALL, True)), machine()) == []


def test_all_problems_are_named_at_once() -> None:
    wish = Wish(
        groups=("nework",),
        knobs={"bpf_jitt": True, "hugepages_1g": "many"},
        housekeeping=99,
        parameters={"hugepagess": "1"},
        extra_knobs=(own("sysfs", "/etc/passwd"),),
    )
    facts = machine()
    with pytest.raises(InvalidInput) as raised:
        wishes.validate(wish, facts, CpuPlan((0,), ()), [setting("cmdline", "isolcpus", "0-7")])
    text = str(raised.value)
    for told in (
        "groups: 'nework' is unknown (close: network)",
        "knobs: 'bpf_jitt' is unknown (close: bpf_jit)",
        "knobs.hugepages_1g: 'many' is no number",
        "housekeeping_cpus is 99",
        "parameters: no knob has 'hugepagess'",
        "extra_knobs: own: target '/etc/passwd' is not a path below /sys or /proc",
        "isolcpus (isolcpus = 0-7): that leaves none of the 8 vCPUs for the system",
    ):
        assert told in text


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("bpf_jit", "yes", "is no number"),
        ("bpf_jit", "1 2", "has 2 figures, and net.core.bpf_jit_enable takes 1"),
        ("bpf_jit", "1\n", "has line ends"),
        ("bpf_jit", " 1", "blanks at an end"),
        ("bpf_jit", "\u0661", "is not plain ASCII"),
        ("bpf_jit", 1.5, "is none of true, false and a value as text"),
        ("bpf_jit", None, "is none of true, false and a value as text"),
        ("vfio_pci", 'vfio" quiet', "has a blank, a quote"),
        ("vfio_pci", "$(reboot)", "has a blank, a quote"),
    ],
)
def test_a_value_of_the_wrong_kind(name: str, value: t.Any, told: str) -> None:
    text = wrong(Wish(knobs={name: value}))
    assert f"knobs.{name}: {value!r} " in text
    assert told in text


@pytest.mark.parametrize(
    ("knob", "value", "told"),
    [
        (own("cmdline", "nosmt", ""), "force", "nosmt is a bare flag"),
        (own("cmdline", "isolcpus", "{isolated}"), "2-", "is no list of vCPUs"),
        (own("cmdline", "isolcpus", "{isolated}"), "", "names no vCPU"),
        (own("service", "irqbalance.service", "disabled"), "stopped", "is none of enabled, disabled, masked"),
        (own("nic", "feature.gro", "off"), "no", "is neither on nor off"),
        (own("sysctl", "net.ipv4.tcp_rmem", "4096 131072 6291456"), "6291456", "has 1 figures"),
        (own("limits", "nofile", "1048576"), "many", "is neither a number nor unlimited"),
    ],
)
def test_kinds_follow_the_catalogue(knob: Knob, value: str, told: str) -> None:
    assert told in wishes.wrong_value(knob, value)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        (own("cmdline", "nosmt", ""), ""),
        (own("cmdline", "isolcpus", "{isolated}"), "2-3,6"),
        (own("cmdline", "isolcpus", "{isolated}"), "{housekeeping}"),
        (own("service", "irqbalance.service", "disabled"), "masked"),
        (own("nic", "feature.gro", "off"), "on"),
        (own("sysfs", "/sys/kernel/mm/ksm/run", "0"), "2"),
        (own("sysfs", "/sys/kernel/mm/transparent_hugepage/enabled", "never"), "madvise"),
        (own("sysctl", "kernel.sched_rt_runtime_us", "950000"), "-1"),
        (own("limits", "nofile", "1048576"), "1024:524288"),
        (own("limits", "nofile", "1048576"), "unlimited"),
        (own("nic", "ring.rx", "max"), "4096"),
        (own("nic", "ring.rx", "4096"), "max"),
    ],
)
def test_good_values_pass(knob: Knob, value: str) -> None:
    assert wishes.wrong_value(knob, value) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "vfio_pci"}, "the catalogue has a knob of this name"),
        ({"id": "My-Knob"}, "id 'My-Knob' is no name of small letters"),
        ({"group": "my group"}, "group 'my group' is no name of small letters"),
        ({"means": "syctl"}, "means 'syctl' is unknown (close: sysctl)"),
        ({"effect": "later"}, "effect 'later' is unknown"),
        ({"risk": "huge"}, "risk 'huge' is unknown"),
        (
            {"means": "cmdline", "target": "quiet", "value": "", "effect": NOW},
            "the kernel reads its command line only at boot",
        ),
        ({"applies_if": ("isolated",)}, "applies_if 'isolated' is unknown (close: isolation)"),
        ({"applies_if": ("family:intle",)}, "applies_if 'family:intle' is unknown"),
        ({"target": "vm swappiness"}, "target 'vm swappiness' is not a sysctl's name"),
        ({"means": "sysfs", "target": "/sys/../etc/passwd"}, "is not a path below /sys or /proc"),
        ({"means": "irq", "target": "eth0"}, "is not nic, default or all"),
        ({"means": "limits", "target": "nofiles"}, "target 'nofiles' is not nofile, memlock"),
        ({"means": "chrony", "target": "pool"}, "is not server, refclock or hwtimestamp"),
        ({"means": "irqbalance", "target": "cpus"}, "is not banned_cpus"),
        ({"means": "nic", "target": "rings.rx"}, "is not ring., coalesce."),
        ({"means": "service", "target": "irqbalance", "value": "disabled"}, "is not a unit's name with its suffix"),
        ({"means": "block", "target": "scheduler", "value": 'none", RUN+="x'}, "has a quote"),
        ({"value": {"inetl": "1"}}, "'inetl' is no CPU family"),
        ({"value": {}}, "value is empty"),
        ({"value": "{isolated"}, "is no template"),
        ({"value": "{0.__class__}"}, "is no template"),
        ({"value": "a\nb"}, "has line ends"),
        ({"verify": (("/etc/passwd", "x"),)}, "verify: '/etc/passwd' is no path below /proc or /sys"),
        ({"verify": (("/proc/cmdline", "{"),)}, "verify: '{' is no template"),
    ],
)
def test_a_knob_of_ones_own_that_cannot_be(changes: dict[str, t.Any], told: str) -> None:
    good = own("sysctl", "vm.swappiness", "{swap}")
    assert shape_problems(Wish(groups=("mine",), extra_knobs=(good,)), machine()) == []
    assert told in wrong(Wish(groups=(), extra_knobs=(dataclasses.replace(good, **changes),)))


def test_targets_are_those_that_the_means_know() -> None:
    def pattern(means: str) -> str:
        return wishes._TARGETS[means][0]

    assert all(re.fullmatch(pattern("limits"), target) for target in limits._KINDS)
    assert all(re.fullmatch(pattern("chrony"), target) for target in chrony._TARGETS)
    assert all(re.fullmatch(pattern("nic"), target) for target in nic_queues._FILES)
    assert all(re.fullmatch(pattern("nic"), f"{kind}.rx-usecs") for kind in nic_ethtool._OPTIONS)
    assert not re.fullmatch(pattern("limits"), "cpu") and not re.fullmatch(pattern("nic"), "speed")


def test_two_knobs_of_ones_own_with_one_name() -> None:
    knob = own("sysctl", "vm.swappiness")
    assert "extra_knobs: own: there are two of this name" in wrong(Wish(extra_knobs=(knob, knob)))


def test_a_knob_from_an_options_dictionary() -> None:
    made = extra_knob(
        {
            "id": "accept_queue",
            "group": "mine",
            "means": "sysctl",
            "target": "net.core.somaxconn",
            "value": {"graviton": 1024, "default": 4096},
            "summary": "Longer accept queues",
            "verify": [["/proc/sys/net/core/somaxconn", 4096]],
            "applies_if": ["interface"],
            "risk": None,
        }
    )
    assert made.value == {"graviton": "1024", "default": "4096"}
    assert made.verify == (("/proc/sys/net/core/somaxconn", "4096"),)
    assert (made.applies_if, made.risk, made.source) == (("interface",), "low", "own knob")
    assert shape_problems(Wish(groups=("mine",), extra_knobs=(made,)), machine()) == []


def test_a_dictionary_that_is_no_knob_names_all_that_is_wrong() -> None:
    with pytest.raises(InvalidInput) as raised:
        extra_knob({"id": "x", "grup": "mine", "means": "sysctl", "target": "a.b", "value": 1})
    assert "extra_knobs: x: grup is unknown (close: group)" in str(raised.value)
    assert "extra_knobs: x: group is missing" in str(raised.value)
    assert "extra_knobs: x: summary is missing" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"verify": [["/proc/x"]]}, "verify has ['/proc/x'], which is no list of a path and a value"),
        ({"verify": ["ab"]}, "verify has 'ab'"),
        ({"value": ["1"]}, "value ['1'] is neither a text"),
        ({"value": {"intel": {}}}, "is neither a text or number"),
    ],
)
def test_a_dictionary_with_odd_parts(changes: dict[str, t.Any], told: str) -> None:
    good = {"id": "x", "group": "mine", "means": "sysctl", "target": "a.b", "value": 1, "summary": "A knob"}
    assert extra_knob(good).value == "1"
    with pytest.raises(InvalidInput, match="extra_knobs: x: ") as raised:
        extra_knob({**good, **changes})
    assert told in str(raised.value)


@pytest.mark.parametrize("count", [0, -1, 7, 8, 9, True, "2", 2.0])
def test_counts_that_leave_no_vcpu_for_one_of_the_two(count: t.Any) -> None:
    text = wrong(Wish(housekeeping=count))
    assert "housekeeping_cpus" in text
    assert str(count) in text


TW_REUSE = ("sysctl", "net.ipv4.tcp_tw_reuse", "1")
NO_TIMESTAMPS = ("sysctl", "net.ipv4.tcp_timestamps", "0")
POLL = ("cmdline", "idle", "poll")
CSTATE = ("cmdline", "processor.max_cstate", "1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (TW_REUSE, NO_TIMESTAMPS),
        (("sysctl", "vm.dirty_ratio", "10"), ("sysctl", "vm.dirty_bytes", "268435456")),
        (("sysctl", "vm.dirty_background_ratio", "3"), ("sysctl", "vm.dirty_background_bytes", "33554432")),
        (("sysctl", "vm.dirty_background_bytes", "268435456"), ("sysctl", "vm.dirty_bytes", "268435456")),
        (("sysctl", "vm.dirty_background_ratio", "30"), ("sysctl", "vm.dirty_ratio", "10")),
        (("sysctl", "net.core.rmem_default", "2097152"), ("sysctl", "net.core.rmem_max", "1048576")),
        (("service", "irqbalance.service", "disabled"), ("irqbalance", "banned", "2-7")),
        (("service", "irqbalance", "masked"), ("irqbalance", "banned", "2-7")),
        (("service", "chronyd", "disabled"), ("chrony", "server", "169.254.169.123")),
        (POLL, CSTATE),
        (POLL, ("cmdline", "cpuidle.off", "1")),
        (("cmdline", "cpuidle.off", "1"), ("cmdline", "intel_idle.max_cstate", "0")),
        (("cmdline", "intel_pstate", "disable"), ("sysfs", "/sys/devices/system/cpu/intel_pstate/min_perf_pct", "100")),
        (("cmdline", "nmi_watchdog", "0"), ("sysctl", "kernel.nmi_watchdog", "1")),
        (
            ("cmdline", "transparent_hugepage", "never"),
            ("sysfs", "/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
        ),
        (("cmdline", "isolcpus", "managed_irq,domain,2-5"), ("cmdline", "nohz_full", "2-7")),
        (("sysctl", "kernel.watchdog", "0"), ("sysctl", "kernel.watchdog", "1")),
        (("nic", "coalesce.adaptive-rx", "on"), ("nic", "coalesce.rx-usecs", "0")),
        (("sysctl", "net.ipv4.tcp_sack", "0"), ("sysctl", "net.ipv4.tcp_dsack", "1")),
    ],
)
def test_contradictions_name_both_sides_in_any_order(first: tuple[str, str, str], second: tuple[str, str, str]) -> None:
    facts = machine(siblings=1)
    one, other = setting(*first), setting(*second)
    assert contradictions([one], facts) == []
    assert contradictions([other], facts) == []
    for pair in ([one, other], [other, one]):
        told = contradictions(pair, facts)
        assert len(told) == 1
        for each in pair:
            assert f"({each.knob.target} = {each.value})" in told[0]


@pytest.mark.parametrize(
    "fine",
    [
        [("sysctl", "net.ipv4.tcp_tw_reuse", "2"), NO_TIMESTAMPS],
        [TW_REUSE, ("sysctl", "net.ipv4.tcp_timestamps", "1")],
        [("sysctl", "vm.dirty_ratio", "0"), ("sysctl", "vm.dirty_bytes", "268435456")],
        [("sysctl", "net.core.rmem_default", "1048576"), ("sysctl", "net.core.rmem_max", "1048576")],
        [("service", "irqbalance.service", "enabled"), ("irqbalance", "banned", "2-7")],
        [("cmdline", "isolcpus", "managed_irq,domain,2-7"), ("cmdline", "nohz_full", "4-7")],
        [
            ("sysctl", "net.ipv4.tcp_rmem", "4096 131072 6291456"),
            ("sysctl", "net.ipv4.tcp_rmem", "4096  131072\t6291456"),
        ],
        [("cmdline", "nmi_watchdog", "0"), ("sysctl", "kernel.nmi_watchdog", "0")],
    ],
)
def test_what_only_looks_like_a_contradiction(fine: list[tuple[str, str, str]]) -> None:
    assert contradictions([setting(*each) for each in fine], machine(siblings=1)) == []


@pytest.mark.parametrize(
    ("first", "needed"),
    [
        (("nic", "napi_defer_hard_irqs", "5000"), ("nic", "gro_flush_timeout", "200000")),
        (("cmdline", "rcu_nocb_poll", ""), ("cmdline", "rcu_nocbs", "2-7")),
    ],
)
def test_what_does_nothing_alone(first: tuple[str, str, str], needed: tuple[str, str, str]) -> None:
    told = contradictions([setting(*first)], machine())
    assert len(told) == 1 and f"needs {needed[1]} as well" in told[0]
    assert contradictions([setting(*first), setting(*needed)], machine()) == []


def test_polling_takes_from_a_sibling_unless_smt_goes_too() -> None:
    told = contradictions([setting(*POLL)], machine(siblings=2))
    assert len(told) == 1 and "takes half of the core from its sibling" in told[0]
    assert contradictions([setting(*POLL)], machine(siblings=1)) == []
    assert contradictions([setting(*POLL), setting("cmdline", "nosmt", "")], machine(siblings=2)) == []
    off = setting("sysfs", "/sys/devices/system/cpu/smt/control", "off")
    assert contradictions([setting(*POLL), off], machine(siblings=2)) == []


@pytest.mark.parametrize(
    ("harmful", "told"),
    [
        (("sysctl", "net.core.default_qdisc", "noqueue"), "drops every packet"),
        (("sysctl", "vm.mlockall", "1"), "Linux has no such setting"),
        (("sysctl", "net.ipv4.tcp_wmem", "2097152"), "three figures"),
        (("cmdline", "isolcpus", "1-0"), "is no range of vCPUs"),
        (("cmdline", "isolcpus", "2-9"), "this machine has no vCPU 8, 9"),
        (("irq", "nic", "64-127"), "this machine has no vCPU 64, 65, 66, 67, 68, ..."),
        (("cmdline", "nohz_full", "0-7"), "leaves none of the 8 vCPUs"),
    ],
)
def test_values_that_break_by_themselves(harmful: tuple[str, str, str], told: str) -> None:
    found = contradictions([setting(*harmful)], machine())
    assert len(found) == 1
    assert told in found[0]


def test_hugepages_above_memory_name_both_figures() -> None:
    facts = machine(memory_kib=4 * GIB)
    told = contradictions([setting("sysctl", "vm.nr_hugepages", "4096")], facts)
    assert told == [
        "huge pages of 8,192 MiB are wanted, this machine has 4,096 MiB of memory, and they may take 75% of it"
    ]
    assert contradictions([setting("sysctl", "vm.nr_hugepages", "1024")], facts) == []


def test_hugepages_of_several_sizes_and_nodes_add_up() -> None:
    facts = machine(nodes=2, memory_kib=16 * GIB)
    pages = [
        setting("sysctl", "vm.nr_hugepages", "512"),
        setting("cmdline", "hugepages", "512"),
        setting("sysfs", "/sys/devices/system/node/node*/hugepages/hugepages-1048576kB/nr_hugepages", "2"),
    ]
    assert hugepages_kib(pages, facts) == 5 * GIB
    assert (
        hugepages_kib([setting("cmdline", "hugepagesz", "1G"), setting("cmdline", "hugepages", "3")], facts) == 3 * GIB
    )


def test_what_is_set_aside_leaves_memory_to_work_with() -> None:
    both = [setting("sysctl", "vm.nr_hugepages", "1400"), setting("sysctl", "vm.min_free_kbytes", "1000000")]
    told = contradictions(both, machine(memory_kib=4 * GIB))
    assert len(told) == 1 and "vm.min_free_kbytes of 977 MiB" in told[0]
    assert contradictions(both, machine(memory_kib=16 * GIB)) == []


@given(st.integers(1, 10**9), st.integers(256 * 1024, 2**33))
def test_the_limit_of_hugepages_is_the_share(pages: int, memory_kib: int) -> None:
    told = contradictions([setting("sysctl", "vm.nr_hugepages", str(pages))], machine(memory_kib=memory_kib))
    assert bool(told) == (pages * 2048 > MOST_HUGEPAGES * memory_kib)


@given(st.integers(1, 192), st.sampled_from([1, 2]), st.data())
def test_whatever_the_plan_isolates_passes(cores: int, siblings: int, data: st.DataObject) -> None:
    facts = machine(vcpus=cores * siblings, siblings=siblings)
    count = data.draw(st.none() | st.integers(1, cores * siblings))
    if shape_problems(Wish(housekeeping=count), facts):
        with pytest.raises(InvalidInput):
            plan_cpus(facts.topology, count)
        return
    plan = plan_cpus(facts.topology, count)
    listed = compact(plan.isolated)
    settings = [setting("cmdline", name, listed) for name in ("isolcpus", "nohz_full", "rcu_nocbs") if listed]
    assert contradictions(settings, facts) == []


@given(
    st.dictionaries(st.sampled_from([*ALL, "nonsense"]), st.one_of(st.booleans(), st.text(max_size=12), st.none())),
    st.lists(st.one_of(st.sampled_from(DEFAULT_GROUPS), st.text(max_size=8)), max_size=4),
    st.one_of(st.none(), st.integers(-5, 200)),
)
def test_no_wish_raises_anything_else(knobs: dict[str, t.Any], groups: list[str], housekeeping: int | None) -> None:
    wish = Wish(groups=tuple(groups), knobs=knobs, housekeeping=housekeeping)
    problems = shape_problems(wish, machine())
    for name, value in knobs.items():
        if name == "nonsense" or value is None:
            assert any(name in problem for problem in problems)
    try:
        wishes.validate(wish, machine(), CpuPlan((0,), ()), ())
    except InvalidInput as error:
        assert all(problem in str(error) for problem in problems)
    else:
        assert problems == []


@given(st.text(max_size=30))
def test_a_template_has_plain_names_or_is_refused(text: str) -> None:
    try:
        found = wishes.names(text)
    except ValueError:
        return
    assert text.format(**dict.fromkeys(found, "x")) is not None
