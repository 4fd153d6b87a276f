# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CPU plan: by the table, by property, and lists and masks there and back."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import (
    FEWEST_CORES,
    HOUSEKEEPING_TABLE,
    compact,
    expand,
    housekeeping_count,
    mask,
    plan_cpus,
    replan,
    signature,
    unmask,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import InvalidInput
from hypothesis import assume, given, settings
from hypothesis import strategies as st

#: Plans are quick, but the machine that tests them may be busy.
unhurried = settings(deadline=None)


def topology(cores: int, threads: int = 1, nodes: int = 1, adjacent: bool = False) -> Topology:
    """A machine of equal cores. adjacent: siblings are numbered 0,1 2,3 as some firmware does, else 0,n 1,n+1."""
    cpus = []
    for core in range(cores):
        numbers = [core * threads + each if adjacent else core + each * cores for each in range(threads)]
        cpus += [Cpu(number, numbers[0], core * nodes // cores) for number in numbers]
    return Topology(tuple(sorted(cpus, key=lambda cpu: cpu.number)))


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    """A machine of any shape: siblings numbered anyhow, nodes interleaved or not, some vCPUs offline."""
    threads = draw(st.sampled_from([1, 2, 4]))
    cores = draw(st.integers(1, 512 // threads))
    numbers = list(range(cores * threads))
    if draw(st.booleans()):
        numbers = draw(st.permutations(numbers)) if len(numbers) <= 64 else numbers[::-1]
    nodes = draw(st.integers(1, min(4, cores)))
    interleaved = draw(st.booleans())
    adjacent = draw(st.booleans())
    offline = draw(st.sets(st.integers(0, cores * threads - 1), max_size=8))
    cpus = []
    for core in range(cores):
        places = [core * threads + each if adjacent else core + each * cores for each in range(threads)]
        siblings = [numbers[place] for place in places if numbers[place] not in offline]
        node = core % nodes if interleaved else core * nodes // cores
        cpus += [Cpu(number, min(siblings), node) for number in siblings]
    assume(cpus)
    return Topology(tuple(sorted(cpus, key=lambda cpu: cpu.number)))


@pytest.mark.parametrize(
    ("vcpus", "kept"),
    [(1, 1), (4, 1), (5, 2), (8, 2), (9, 4), (32, 4), (33, 8), (96, 8), (97, 16), (192, 16), (384, 16)],
)
def test_housekeeping_by_size(vcpus: int, kept: int) -> None:
    assert housekeeping_count(vcpus) == kept


@pytest.mark.parametrize(
    ("machine", "housekeeping", "isolated"),
    [
        # SMT, siblings half the machine apart (x86 on EC2): sizes large's bigger kin to 48xlarge.
        (topology(3, 2), "0,3", "1-2,4-5"),
        (topology(4, 2), "0,4", "1-3,5-7"),
        (topology(8, 2), "0-1,8-9", "2-7,10-15"),
        (topology(16, 2), "0-1,16-17", "2-15,18-31"),
        (topology(32, 2), "0-3,32-35", "4-31,36-63"),
        (topology(48, 2), "0-3,48-51", "4-47,52-95"),
        (topology(96, 2, nodes=2), "0-7,96-103", "8-95,104-191"),
        # SMT, adjacent siblings: one housekeeping vCPU becomes a whole core.
        (topology(4, 2, adjacent=True), "0-1", "2-7"),
        (topology(3, 2, adjacent=True), "0-1", "2-5"),
        # One thread a core (Graviton, AMD from the seventh generation on).
        (topology(4), "0", "1-3"),
        (topology(8), "0-1", "2-7"),
        (topology(16), "0-3", "4-15"),
        (topology(64), "0-7", "8-63"),
        (topology(192, nodes=2), "0-15", "16-191"),
    ],
)
def test_plan_by_the_table(machine: Topology, housekeeping: str, isolated: str) -> None:
    plan = plan_cpus(machine)
    assert (compact(plan.housekeeping), compact(plan.isolated), plan.reason) == (housekeeping, isolated, "")


@pytest.mark.parametrize(
    ("machine", "cores"),
    [
        (topology(1), "1 physical core,"),
        (topology(1, 2), "1 physical core,"),
        (topology(2), "2 physical cores,"),
        (topology(2, 2), "2 physical cores,"),
    ],
)
def test_too_few_cores_isolate_nothing_and_say_so(machine: Topology, cores: str) -> None:
    plan = plan_cpus(machine)
    assert plan.housekeeping == tuple(cpu.number for cpu in machine.cpus)
    assert plan.isolated == ()
    assert plan.reason.startswith(cores)


def test_housekeeping_stays_on_the_first_node_and_then_takes_the_next() -> None:
    interleaved = Topology(tuple(Cpu(number, number, number % 2) for number in range(12)))
    assert compact(plan_cpus(interleaved).housekeeping) == "0,2,4,6"
    assert plan_cpus(interleaved, housekeeping=8).housekeeping == (0, 1, 2, 3, 4, 6, 8, 10)


def test_node_of_the_first_vcpu_counts_not_the_lowest_node() -> None:
    swapped = Topology(tuple(Cpu(number, number, 1 if number < 4 else 0) for number in range(8)))
    assert plan_cpus(swapped).housekeeping == (0, 1)
    assert plan_cpus(swapped, housekeeping=5).housekeeping == (0, 1, 2, 3, 4)


def test_offline_vcpus_are_in_no_list() -> None:
    smt_off = Topology(tuple(Cpu(number, number, 0) for number in range(0, 16, 2)))
    plan = plan_cpus(smt_off)
    assert (compact(plan.housekeeping), compact(plan.isolated)) == ("0,2", "4,6,8,10,12,14")


@pytest.mark.parametrize("housekeeping", [-1, 0, 9, 1000])
def test_impossible_housekeeping_is_refused(housekeeping: int) -> None:
    with pytest.raises(InvalidInput, match=f"housekeeping_cpus is {housekeeping}: a machine of 8 vCPUs"):
        plan_cpus(topology(8), housekeeping)


@pytest.mark.parametrize(("machine", "housekeeping"), [(topology(8), 8), (topology(4, 2), 7), (topology(4, 2), 8)])
def test_housekeeping_that_leaves_nothing_to_isolate_is_refused(machine: Topology, housekeeping: int) -> None:
    with pytest.raises(InvalidInput, match="in whole cores that is all 8 vCPUs"):
        plan_cpus(machine, housekeeping)


def test_a_machine_without_vcpus_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no online vCPU"):
        plan_cpus(Topology(()))


def test_a_wish_for_another_size_gives_way_at_boot() -> None:
    plan, note = replan(topology(4), 8)
    assert (plan.housekeeping, plan.isolated) == ((0,), (1, 2, 3))
    assert "housekeeping_cpus is 8" in note
    assert replan(topology(16), 8) == (plan_cpus(topology(16), 8), "")
    assert replan(topology(2, 2), 3)[0].reason.startswith("2 physical cores")
    with pytest.raises(InvalidInput):
        replan(Topology(()), None)


def test_signatures_tell_sizes_siblings_and_nodes_apart() -> None:
    shapes = [topology(4), topology(8), topology(4, 2), topology(4, 2, adjacent=True), topology(4, 2, nodes=2)]
    assert len({signature(shape) for shape in shapes}) == len(shapes)
    assert signature(topology(4, 2, nodes=2)).startswith("8 vCPUs, 4 cores, 2 nodes, ")
    assert signature(topology(1)).startswith("1 vCPU, 1 core, 1 node, ")


@unhurried
@given(machine=machines())
def test_a_signature_does_not_hang_on_the_order_of_the_vcpus(machine: Topology) -> None:
    assert signature(machine) == signature(Topology(machine.cpus[::-1]))


def chosen(machine: Topology, data: st.DataObject) -> int | None:
    """A number of housekeeping vCPUs that this machine can give, or the table's."""
    widest = max(len(siblings) for siblings in machine.cores.values())
    return data.draw(st.none() | st.integers(1, max(1, len(machine.cpus) - 2 * widest)))


@unhurried
@given(machine=machines(), data=st.data())
def test_plans_hold_on_every_machine(machine: Topology, data: st.DataObject) -> None:
    wanted = chosen(machine, data)
    plan = plan_cpus(machine, wanted)
    online = {cpu.number for cpu in machine.cpus}
    kept, isolated = set(plan.housekeeping), set(plan.isolated)
    assert kept | isolated == online and not kept & isolated, "complete and disjoint"
    assert list(plan.housekeeping) == sorted(kept) and list(plan.isolated) == sorted(isolated)
    assert min(online) in kept
    assert all(set(siblings) <= kept or set(siblings) <= isolated for siblings in machine.cores.values())
    assert bool(plan.reason) == (not isolated) == (len(machine.cores) < FEWEST_CORES)


@unhurried
@given(machine=machines(), data=st.data())
def test_housekeeping_is_as_many_as_wanted_and_no_core_more(machine: Topology, data: st.DataObject) -> None:
    assume(len(machine.cores) >= FEWEST_CORES)
    wanted = chosen(machine, data)
    plan = plan_cpus(machine, wanted)
    target = housekeeping_count(len(machine.cpus)) if wanted is None else wanted
    widest = max(len(siblings) for siblings in machine.cores.values())
    assert target <= len(plan.housekeeping) < target + widest


@unhurried
@given(machine=machines(), data=st.data())
def test_no_other_node_gives_a_core_while_the_first_has_one(machine: Topology, data: st.DataObject) -> None:
    plan = plan_cpus(machine, chosen(machine, data))
    node = {cpu.number: cpu.node for cpu in machine.cpus}
    first = node[min(node)]
    spilled = any(node[number] != first for number in plan.housekeeping)
    left = any(node[number] == first for number in plan.isolated)
    assert not (spilled and left)


@unhurried
@given(machine=machines())
def test_a_plan_does_not_hang_on_the_order_of_the_vcpus(machine: Topology) -> None:
    assert plan_cpus(machine) == plan_cpus(Topology(machine.cpus[::-1]))


numbers = st.sets(st.integers(0, 511))


@given(numbers)
def test_lists_there_and_back(wanted: set[int]) -> None:
    text = compact(wanted)
    assert expand(text) == tuple(sorted(wanted))
    assert compact(expand(text)) == text


@given(numbers)
def test_masks_there_and_back(wanted: set[int]) -> None:
    text = mask(wanted)
    assert unmask(text) == tuple(sorted(wanted))
    assert int(text.replace(",", ""), 16) == sum(1 << number for number in wanted)
    assert all(len(word) == 8 for word in text.split(",")[1:])


def test_a_list_of_512_vcpus_is_short() -> None:
    assert compact(range(512)) == "0-511"
    assert mask(range(512)) == ",".join(["ffffffff"] * 16)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", ()), ("\n", ()), ("0", (0,)), ("0-1,4\n", (0, 1, 4)), ("4,0-1", (0, 1, 4)), ("3-3", (3,)), ("1, 2", (1, 2))],
)
def test_lists_as_kernels_and_people_write_them(text: str, wanted: tuple[int, ...]) -> None:
    assert expand(text) == wanted


@pytest.mark.parametrize("text", ["a", "1-0", "1-", "-1", "0--1", "1,,2", "managed_irq,1", "0-99999999999", "8192"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        expand(text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("0", ()), ("f", (0, 1, 2, 3)), ("00000000,0000000f", (0, 1, 2, 3)), ("1,00000000\n", (32,))]
)
def test_masks_as_kernels_write_them(text: str, wanted: tuple[int, ...]) -> None:
    assert unmask(text) == wanted


@pytest.mark.parametrize("text", ["", "g", "0x"])
def test_what_is_no_mask_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        unmask(text)


def test_the_table_is_in_order() -> None:
    limits: list[t.Any] = [limit for limit, _count in HOUSEKEEPING_TABLE]
    assert limits == sorted(limits) and limits[-1] == float("inf")
