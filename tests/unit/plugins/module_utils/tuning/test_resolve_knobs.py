# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a wish and a machine to settings, and what a wish becomes over runs with some groups."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import registry, wishes
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import FAMILIES, GROUPS, InvalidInput, Knob
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.resolve import (
    PARAMETERS,
    figures,
    fill,
    merged,
    names_in,
    resolve,
    without,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.wishes import Wish

TOPOLOGY = Topology(tuple(Cpu(number, number - number % 2, 0) for number in range(40)))
FACTS = Facts(
    "intel", "x86_64", "debian", "12", "6.1.0", {}, TOPOLOGY, 8 * 1024 * 1024, "ens5", "ena", ("nvme0n1",), "grubby"
)
PLAN = plan_cpus(TOPOLOGY)


def knob(**changes: t.Any) -> Knob:
    return dataclasses.replace(Knob("k", "memory", "sysctl", "vm.k", "{hugepages}", "A knob.", "here"), **changes)


def test_figures_are_the_machine_s() -> None:
    found = figures(FACTS, PLAN, {})
    assert (found["housekeeping"], found["isolated"]) == ("0-7", "8-39")
    assert (found["housekeeping_mask"], found["isolated_mask"]) == ("ff", "ff,ffffff00")
    assert (found["housekeeping_count"], found["isolated_count"], found["vcpus"]) == ("8", "32", "40")
    assert found["hugepages"] == "1024", "a quarter of 8 GiB in pages of 2 MiB"
    assert found["min_free_kib"] == str(8 * 1024 * 1024 * 2 // 100)
    assert (found["memory_bytes"], found["memory_pages"]) == (str(8 << 30), str(2 << 20))


@pytest.mark.parametrize(("memory_kib", "wanted_kib"), [(512 * 1024, 16 * 1024), (1024**3, 1024 * 1024)])
def test_free_memory_has_a_floor_and_a_ceiling(memory_kib: int, wanted_kib: int) -> None:
    facts = dataclasses.replace(FACTS, memory_kib=memory_kib)
    assert figures(facts, PLAN, {})["min_free_kib"] == str(wanted_kib)


def test_parameters_replace_figures_and_join_them() -> None:
    assert figures(FACTS, PLAN, {"hugepages_percent": "50"})["hugepages"] == "2048"
    found = figures(FACTS, PLAN, {"hugepages": "7", "mine": "x"})
    assert (found["hugepages"], found["mine"]) == ("7", "x")


@pytest.mark.parametrize("text", ["", "-1", "101", "1.5", "many"])
@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_percentage_that_is_none_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        figures(FACTS, PLAN, {name: text})
    wish = Wish(groups=("memory",), parameters={name: text})
    assert name in resolve(wish, FACTS, PLAN, {}).problems[0]


def test_templates() -> None:
    assert fill("a,{b}-{b}", {"b": "1"}) == "a,1-1"
    assert fill("{Not a name} $1 {}", {}) == "{Not a name} $1 {}"
    assert names_in("{a}{b_1}{a}") == {"a", "b_1"}
    with pytest.raises(KeyError):
        fill("{b}", {})


def test_every_template_of_the_catalogue_has_its_figures() -> None:
    known = set(figures(FACTS, PLAN, {}))
    for each in ALL.values():
        values = [each.value] if isinstance(each.value, str) else list(each.value.values())
        for template in (*values, *(text for proof in each.verify for text in proof)):
            assert names_in(template) <= known, each.id


def test_every_means_of_the_catalogue_is_there() -> None:
    assert {each.means for each in ALL.values()} <= set(registry.MEANS)
    assert set(registry.BOOT_STAGES) <= set(registry.MEANS)
    assert set(wishes.MEANS) == set(registry.MEANS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("vcpus", [1, 2, 6, 192])
def test_the_catalogue_resolves_on_every_machine(family: str, vcpus: int) -> None:
    topology = Topology(tuple(Cpu(number, number - number % 2, 0) for number in range(vcpus)))
    facts = dataclasses.replace(FACTS, family=family, topology=topology)
    everything = Wish(groups=GROUPS, knobs=dict.fromkeys(ALL, True))
    found = resolve(everything, facts, plan_cpus(topology), ALL)
    assert not found.problems
    told = [setting.id for setting in found.settings] + [skipped.knob.id for skipped in found.skipped]
    assert sorted(told) == sorted(ALL)
    assert all(skipped.reason for skipped in found.skipped)
    assert not any("{" in setting.value for setting in found.settings)


def ids(wish: Wish, *knobs: Knob, facts: Facts = FACTS) -> tuple[dict[str, str], dict[str, str]]:
    found = resolve(wish, facts, PLAN, {each.id: each for each in knobs})
    settings = {setting.id: setting.value for setting in found.settings}
    return settings, {skipped.knob.id: skipped.reason for skipped in found.skipped}


def test_what_is_on() -> None:
    off, on = knob(id="off", enabled=False), knob(id="on")
    assert ids(Wish(groups=("memory",)), off, on) == ({"on": "1024"}, {})
    assert ids(Wish(groups=("memory",), knobs={"off": True, "on": False}), off, on) == ({"off": "1024"}, {})
    assert ids(Wish(groups=("memory",), knobs={"off": "3", "on": "{vcpus}"}), off, on) == ({"off": "3", "on": "40"}, {})
    assert ids(Wish(groups=("cpu",), knobs={"off": True}), off, on) == ({}, {})


def test_values_by_family() -> None:
    by_family = knob(value={"amd": "1", "default": "2"})
    assert ids(Wish(groups=("memory",)), by_family)[0] == {"k": "2"}
    assert ids(Wish(groups=("memory",)), by_family, facts=dataclasses.replace(FACTS, family="amd"))[0] == {"k": "1"}
    settings, skipped = ids(Wish(groups=("memory",)), knob(value={"amd": "1"}))
    assert not settings and "intel" in skipped["k"]
    assert ids(Wish(groups=("memory",), knobs={"k": "5"}), knob(value={"amd": "1"}))[0] == {"k": "5"}


def test_conditions_skip_with_their_reason() -> None:
    settings, skipped = ids(Wish(groups=("memory",)), knob(applies_if=("x86", "arm64")))
    assert not settings and "aarch64" in skipped["k"]


def test_own_knobs_join_and_bad_templates_are_problems() -> None:
    own = knob(id="own", group="mine", verify=(("/sys/{interface}", "{nothing}"),))
    found = resolve(Wish(groups=("mine",), extra_knobs=(own,)), FACTS, PLAN, {})
    assert found.problems == ("the knob own uses {nothing}, which is neither a figure nor a parameter",)
    found = resolve(Wish(groups=("mine",), extra_knobs=(own,), parameters={"nothing": "1"}), FACTS, PLAN, {})
    assert found.settings[0].verify == (("/sys/ens5", "1"),)


CATALOGUE = {each.id: each for each in (knob(id="m"), knob(id="n", group="network"))}


def test_a_wish_for_a_group_replaces_what_was_wished_for_it_alone() -> None:
    own = knob(id="own", group="mine")
    old = Wish(("memory", "mine"), {"m": "1", "own": False}, (own,), 2, {"a": "1"})
    new = Wish(("network",), {"n": "2", "m": "9"}, (), None, {})
    both = merged(old, new, CATALOGUE)
    assert both.groups == ("memory", "mine", "network")
    assert both.knobs == {"m": "1", "own": False, "n": "2"}, "what is said of other groups is not for this run"
    assert both.extra_knobs == (own,)
    assert (both.housekeeping, both.parameters) == (None, {})
    assert merged(both, new, CATALOGUE) == both
    assert merged(both, Wish(("memory",)), CATALOGUE).knobs == {"own": False, "n": "2"}
    assert merged(both, Wish(("mine",)), CATALOGUE).extra_knobs == ()
    assert merged(None, new, CATALOGUE).knobs == {"n": "2"}


def test_groups_that_are_given_up_leave_nothing_in_the_wish() -> None:
    own = knob(id="own", group="mine")
    old = Wish(("memory", "mine", "network"), {"m": "1", "own": False, "n": True}, (own,), 2)
    assert without(old, ["mine", "memory"], CATALOGUE) == Wish(("network",), {"n": True}, (), 2)
    assert without(old, old.groups, CATALOGUE) == Wish((), {}, (), 2)
