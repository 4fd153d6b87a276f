# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue as data: every knob is complete, fits its means, and repeats no mistake of the lists it grew from."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import catalogue, wishes
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL, DEFAULT_GROUPS
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.checks import CHECKS
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.conditions import ARGUED, CONDITIONS, find
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.contradictions import contradictions
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, CpuPlan, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means import nic_ethtool
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import (
    BOOT,
    FAMILIES,
    GROUPS,
    NOW,
    RISKS,
    InvalidInput,
    Knob,
    Setting,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.registry import MEANS
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.resolve import figures, names_in, resolve
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.wishes import Wish

ROOT = pathlib.Path(__file__).resolve().parents[5]
KNOBS = tuple(ALL.values())
each_knob = pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.id)


def machine(family: str = "intel", vcpus: int = 8, siblings: int = 2, nodes: int = 1, **more: t.Any) -> Facts:
    """A machine with all that conditions ask for, unless more says otherwise."""
    cpus = tuple(Cpu(number, number // siblings * siblings, number * nodes // vcpus) for number in range(vcpus))
    known: dict[str, t.Any] = {
        "family": family,
        "arch": "aarch64" if family == "graviton" else "x86_64",
        "distribution": "debian",
        "version": "12",
        "kernel": "6.12.0",
        "kernel_config": {},
        "topology": Topology(cpus),
        "memory_kib": vcpus * 2 * 1024 * 1024,
        "interface": "ens5",
        "driver": "ena",
        "disks": ("nvme0n1",),
        "bootloader": "grub_dropin",
    }
    return Facts(**{**known, **more})


def resolved(facts: Facts, groups: tuple[str, ...] = DEFAULT_GROUPS, **more: t.Any) -> tuple[Setting, ...]:
    found = resolve(Wish(groups=groups, **more), facts, plan_cpus(facts.topology), ALL)
    assert found.problems == ()
    return found.settings


def templates(knob: Knob) -> list[str]:
    values = [knob.value] if isinstance(knob.value, str) else list(knob.value.values())
    return [*values, *(text for proof in knob.verify for text in proof)]


def defaults() -> dict[tuple[str, str], Knob]:
    """What is turned without being asked for, by means and target."""
    return {(knob.means, knob.target): knob for knob in KNOBS if knob.enabled and knob.group in DEFAULT_GROUPS}


# --- Shape


@each_knob
def test_a_knob_is_complete(knob: Knob) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", knob.id)
    assert knob.group in GROUPS
    assert knob.means in MEANS
    assert knob.risk in RISKS
    assert knob.effect == (BOOT if knob.means == "cmdline" else NOW)
    assert len(knob.summary) > 10 and knob.summary.isprintable()
    assert len(knob.source) > 5 and knob.source.isprintable()
    assert "seed" not in f"{knob.summary} {knob.source}".lower()
    for name in knob.applies_if:
        find(name)


@each_knob
def test_a_knob_would_pass_as_one_of_a_users_own(knob: Knob) -> None:
    """The catalogue keeps to the rules that users' knobs are held to: names, targets, families, templates, values."""
    own = dataclasses.replace(knob, id=f"own_{knob.id}")
    assert wishes.shape_problems(Wish(extra_knobs=(own,)), machine()) == []


@each_knob
def test_a_knobs_own_values_are_of_its_kind(knob: Knob) -> None:
    values = [knob.value] if isinstance(knob.value, str) else list(knob.value.values())
    assert [wishes.wrong_value(knob, value) for value in values] == [""] * len(values)


@each_knob
def test_templates_use_figures_that_there_are(knob: Knob) -> None:
    known = figures(machine(), CpuPlan((0, 1), (2, 3)), {})
    for template in templates(knob):
        assert names_in(template) == wishes.names(template)
        assert names_in(template) <= set(known)


@each_knob
def test_what_needs_isolated_vcpus_says_so(knob: Knob) -> None:
    """Without the condition, a machine of one core would get an empty list, or one such as 1-0."""
    names = {name for template in templates(knob) for name in names_in(template)}
    if names & {
        "isolated",
        "isolated_mask",
        "isolated_count",
        "housekeeping",
        "housekeeping_mask",
        "housekeeping_count",
    }:
        assert "isolation" in knob.applies_if


@each_knob
def test_a_risky_knob_is_off(knob: Knob) -> None:
    assert not (knob.enabled and knob.risk == "high")


def test_families_of_values_are_known() -> None:
    for knob in KNOBS:
        if not isinstance(knob.value, str):
            assert set(knob.value) <= {*FAMILIES, "default"}


def test_all_means_of_users_knobs_are_registered() -> None:
    assert set(wishes.MEANS) == set(MEANS)


def test_an_id_that_is_there_twice_or_in_the_wrong_file_is_refused() -> None:
    knob = KNOBS[0]
    with pytest.raises(ValueError, match="is there twice"):
        catalogue.gather({knob.group: (knob, knob)})
    with pytest.raises(ValueError, match="stands in the file of"):
        catalogue.gather({"limits" if knob.group != "limits" else "cpu": (knob,)})


def test_every_group_has_knobs_and_kernel_bypass_is_asked_for() -> None:
    assert {knob.group for knob in KNOBS} == set(GROUPS)
    assert "kernel_bypass" not in DEFAULT_GROUPS
    assert set(DEFAULT_GROUPS) | {"kernel_bypass"} == set(GROUPS)


# --- The whole of it, on machines of all kinds


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("vcpus", "siblings", "nodes"), [(1, 1, 1), (2, 2, 1), (4, 1, 1), (8, 2, 1), (96, 2, 2), (192, 1, 2)]
)
def test_the_defaults_never_contradict_themselves(family: str, vcpus: int, siblings: int, nodes: int) -> None:
    facts = machine(family, vcpus, siblings, nodes)
    settings = resolved(facts, tuple(GROUPS))
    assert contradictions(settings, facts) == []
    assert len(settings) > 30


def test_every_option_can_be_had_alone_or_names_what_it_excludes() -> None:
    facts = machine(siblings=1)
    for knob in KNOBS:
        if knob.enabled:
            continue
        settings = resolved(facts, tuple(GROUPS), knobs={knob.id: True})
        for told in contradictions(settings, facts):
            assert re.match(r"[a-z0-9_]+ \(.*\) (contradicts|needs) ", told), told
            assert knob.id in told


def test_nothing_is_isolated_on_a_machine_of_one_core() -> None:
    for vcpus in (1, 2):
        turned = resolved(machine(vcpus=vcpus), tuple(GROUPS))
        assert not {setting.id for setting in turned} & {
            "isolcpus",
            "nohz_full",
            "rcu_nocbs",
            "irq_nic",
            "workqueue_cpumask",
        }
        assert not any("1-0" in setting.value for setting in turned)


@pytest.mark.parametrize("family", ["amd", "graviton"])
def test_idle_and_frequency_knobs_are_for_intel_alone(family: str) -> None:
    """Published: neutral or worse on AMD and Graviton with all of them (c7a.48xlarge p50 +1.0, c8g.metal +0.9 us)."""
    turned = {setting.id for setting in resolved(machine(family))}
    assert not turned & {
        "governor",
        "min_perf_pct",
        "energy_perf_bias",
        "intel_idle_max_cstate",
        "processor_max_cstate",
    }
    assert {"governor", "intel_idle_max_cstate"} <= {setting.id for setting in resolved(machine("intel"))}


def test_a_kernel_without_a_driver_is_not_asked_to_prove_it() -> None:
    """Debian 12's cloud kernel, which EC2 images have, is built without intel_idle and without vfio's noiommu mode."""
    config = {"CONFIG_NO_HZ_FULL": "y", "CONFIG_RCU_NOCB_CPU": "y", "CONFIG_VFIO_PCI": "m", "CONFIG_CPU_IDLE": "y"}
    turned = resolved(machine(kernel_config=config), tuple(GROUPS), knobs={"vfio_noiommu": True})
    proofs = {path for setting in turned for path, _text in setting.verify}
    assert not any(path.startswith(("/sys/module/intel_idle", "/sys/module/vfio/")) for path in proofs)
    assert {"processor_max_cstate", "vfio_pci"} <= {setting.id for setting in turned}


def test_graviton_has_its_own_values() -> None:
    values = {setting.id: setting.value for setting in resolved(machine("graviton", siblings=1))}
    assert (values["thp"], values["busy_poll"], values["busy_read"]) == ("madvise", "25", "25")
    assert "tsc_reliable" not in values


def test_lists_of_vcpus_are_compact() -> None:
    values = {setting.id: setting.value for setting in resolved(machine(vcpus=192, nodes=2))}
    assert values["isolcpus"] == "managed_irq,domain,16-191"
    assert all(len(value) < 60 for value in values.values())


# --- The mistakes of published lists, none of which may come back


def test_time_wait_ports_and_timestamps_go_together() -> None:
    by_target = {target: knob.value for (_means, target), knob in defaults().items()}
    assert by_target["net.ipv4.tcp_tw_reuse"] == "1"
    assert by_target["net.ipv4.tcp_timestamps"] == "1"


def test_dirty_memory_is_limited_in_one_unit() -> None:
    targets = {target for _means, target in defaults()}
    for ratio, in_bytes in (
        ("vm.dirty_ratio", "vm.dirty_bytes"),
        ("vm.dirty_background_ratio", "vm.dirty_background_bytes"),
    ):
        assert (ratio in targets) != (in_bytes in targets)


DEAD = (
    "vm.mlockall",  # never was one
    "net.ipv4.tcp_low_latency",  # no effect since Linux 4.14
    "net.ipv4.tcp_adv_win_scale",  # obsolete since Linux 6.6
    "net.ipv4.tcp_nodelay",  # never was one
    "net.ipv4.tcp_tw_recycle",  # gone since Linux 4.12
    "kernel.sched_min_granularity_ns",  # moved to debugfs by Linux 5.13
    "kernel.sched_wakeup_granularity_ns",
    "kernel.sched_latency_ns",
    "kernel.sched_migration_cost_ns",
    "kernel.shmmax",  # as good as unlimited since Linux 3.16: a value only lowers it
    "kernel.shmall",
)


@pytest.mark.parametrize("name", DEAD)
def test_no_dead_sysctl_is_in_the_catalogue(name: str) -> None:
    assert name not in {knob.target for knob in KNOBS}


def test_no_queue_is_taken_from_devices() -> None:
    assert ("sysctl", "net.core.default_qdisc") not in defaults()
    for knob in KNOBS:
        assert "noqueue" not in str(knob.value)


def test_idle_settings_that_exclude_each_other_are_no_defaults() -> None:
    parameters = {target for means, target in defaults() if means == "cmdline"}
    assert not parameters & {"idle", "cpuidle.off", "intel_pstate", "nosmt", "mitigations", "audit"}
    assert {"intel_idle.max_cstate", "processor.max_cstate"} <= parameters


def test_rings_are_clamped_and_each_is_a_call_of_its_own() -> None:
    """ethtool -G rx 4096 tx 4096 fails as a whole on an ENA, whose send ring ends at 1,024."""
    rings = [knob for knob in KNOBS if knob.means == "nic" and knob.target.startswith("ring.")]
    assert {knob.target for knob in rings} == {"ring.rx", "ring.tx"}
    assert all(not knob.enabled for knob in rings)
    shown = nic_ethtool.Shown(value="512", largest="1024")
    assert nic_ethtool.wanted("ring.tx", "4096", shown, "ena")[0] == "1024"
    assert nic_ethtool.wanted("ring.tx", "max", shown, "ena")[0] == "1024"


def test_no_knob_names_an_interface() -> None:
    for knob in KNOBS:
        assert not re.search(r"\b(eth\d|ens\d)", f"{knob.target} {' '.join(templates(knob))}")


def test_what_protects_or_gives_access_stays() -> None:
    units = {target for means, target in defaults() if means == "service"}
    assert not {unit for unit in units if re.search(r"ssm|audit|iptables|nftables|firewalld|ufw|dhcp|irqbalance", unit)}
    assert not any(re.search(r"rp_filter|tcp_syncookies|perf_event_paranoid", target) for _means, target in defaults())


def test_irqbalance_is_steered_and_not_stopped() -> None:
    assert ("irqbalance", "banned_cpus") in defaults()


def test_buffers_are_no_smaller_than_the_kernels_own() -> None:
    """Stock Linux lets TCP grow to 6 MiB (receive) and 4 MiB (send); a list that sets 2 MiB takes some away."""
    by_id = {knob.id: str(knob.value).split() for knob in KNOBS}
    assert int(by_id["tcp_rmem"][2]) >= 6 * 1024 * 1024
    assert int(by_id["tcp_wmem"][2]) >= 4 * 1024 * 1024


def test_memory_that_is_kept_free_follows_the_machine() -> None:
    """A fixed 1,000,000 KiB is half of a small machine's memory."""
    for vcpus, memory_kib in ((2, 2 * 1024 * 1024), (192, 384 * 1024 * 1024)):
        facts = machine(vcpus=vcpus, memory_kib=memory_kib)
        values = {setting.id: setting.value for setting in resolved(facts)}
        assert int(values["min_free_kbytes"]) <= 0.03 * memory_kib


def test_no_stratum_of_the_machines_own_clock() -> None:
    assert not any("stratum" in f"{knob.target} {knob.value}" for knob in KNOBS)


def test_a_hugepage_wish_above_memory_is_refused_before_anything() -> None:
    facts = machine(memory_kib=2 * 1024 * 1024)
    settings = resolved(facts, knobs={"hugepages": "4096"})
    with pytest.raises(InvalidInput, match=r"huge pages of 8,192 MiB are wanted, this machine has 2,048 MiB"):
        wishes.validate(Wish(knobs={"hugepages": "4096"}), facts, plan_cpus(facts.topology), settings)


def test_tw_reuse_with_timestamps_off_is_refused() -> None:
    facts = machine()
    wish = {"timestamps_off": True, "tcp_timestamps": False}
    told = contradictions(resolved(facts, knobs=wish), facts)
    assert len(told) == 1 and "EADDRNOTAVAIL" in told[0] and "timestamps_off" in told[0] and "tcp_tw_reuse" in told[0]
    assert contradictions(resolved(facts, knobs={**wish, "tcp_tw_reuse": False}), facts) == []


def test_dirty_ratio_with_dirty_bytes_is_refused() -> None:
    facts = machine()
    told = contradictions(resolved(facts, knobs={"dirty_bytes": True}), facts)
    assert len(told) == 1 and "dirty_ratio" in told[0] and "dirty_bytes" in told[0]
    both = {"dirty_bytes": True, "dirty_background_bytes": True, "dirty_ratio": False, "dirty_background_ratio": False}
    assert contradictions(resolved(facts, knobs=both), facts) == []


# --- The page


def test_the_committed_page_is_what_the_catalogue_makes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "knobs_page.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_comparison_names_knobs_and_checks_that_there_are() -> None:
    page = (ROOT / "docs" / "os-tuning-knobs.md").read_text(encoding="utf-8")
    comparison = page.partition("## What the original AMI builder tunes")[2].partition("## The catalogue")[0]
    defaults_column = [line.split(" | ")[1] for line in comparison.splitlines() if line.count(" | ") >= 2]
    named = {name for cell in defaults_column for name in re.findall(r"`([a-z][a-z0-9_]*)`", cell)}
    others = {"madvise", "none", "absent", "os_tuning_state"}
    assert len(defaults_column) > 50
    assert named - set(ALL) - set(CHECKS) - set(GROUPS) - others == set()


def test_the_comparison_tells_the_true_default() -> None:
    """Where our default is told as off, the knobs that are named right behind are off."""
    page = (ROOT / "docs" / "os-tuning-knobs.md").read_text(encoding="utf-8")
    comparison = page.partition("## What the original AMI builder tunes")[2].partition("## The catalogue")[0]
    told_off = re.findall(r"(?:^|\| )off \(([^;)]*)", comparison, re.MULTILINE)
    told_on = re.findall(r"(?:\| )the same[^|(]*\(([^;)]*)", comparison)
    assert len(told_off) > 5 and len(told_on) > 5
    for told, wanted in ((told_off, False), (told_on, True)):
        for name in re.findall(r"`([a-z0-9_]+)`", " ".join(told)):
            if name in ALL:
                assert ALL[name].enabled is wanted, name


def test_the_jobs_page_names_all_checks_conditions_and_groups() -> None:
    page = (ROOT / "docs" / "os-tuning.md").read_text(encoding="utf-8")
    table = page.partition("## Checks without a change")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(CHECKS)
    own = page.partition("## Knobs of your own")[2].partition("\n## ")[0]
    told = own.partition("Conditions: ")[2]
    assert set(re.findall(r"`([a-z0-9_]+)[:`]", told)) == {*CONDITIONS, *ARGUED}
    assert set(re.search(r"means: \S+\s+# (.*)", own)[1].split(", ")) == set(MEANS)  # type: ignore[index]
    assert all(f"`{group}`" in page for group in GROUPS)


def test_variables_on_the_jobs_page_are_the_roles() -> None:
    defaults_text = (ROOT / "roles" / "os_tuning" / "defaults" / "main.yml").read_text(encoding="utf-8")
    known = set(re.findall(r"^(os_tuning_\w+):", defaults_text, re.MULTILINE)) | {"os_tuning_reboot_required"}
    for name in ("os-tuning.md", "os-tuning-knobs.md"):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        named = set(re.findall(r"\bos_tuning_\w+\b", page)) - {"os_tuning_gate_"}
        assert named, name
        assert named <= known, named - known
