# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wish and a machine to settings: templates, CPU families, conditions, and what the wish overrides. Pure."""

from __future__ import annotations

import re
import typing as t

from .conditions import why_not
from .cpu_plan import compact, mask
from .facts import CpuPlan, Facts
from .model import InvalidInput, Knob, Setting, Skipped
from .wishes import PARAMETERS, Wish

_HUGEPAGE_KIB = 2048
_PAGE_KIB = 4
#: vm.min_free_kbytes below this starves atomic allocations, above it only wastes memory.
_MIN_FREE_KIB = (16 * 1024, 1024 * 1024)

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Resolved(t.NamedTuple):
    """A wish on a machine, in the order of the catalogue. problems: what a person must mend first."""

    settings: tuple[Setting, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...]


def figures(facts: Facts, plan: CpuPlan, parameters: t.Mapping[str, str]) -> dict[str, str]:
    """The names that templates may use, with this machine's figures. Parameters replace figures, or join them.

    Lists of vCPUs are as the kernel writes them (2-5), masks as /sys has them, memory in KiB. Raises InvalidInput for a
    percentage that is none.
    """
    given = {**PARAMETERS, **parameters}
    smallest, largest = _MIN_FREE_KIB
    min_free_kib = facts.memory_kib * _percent(given, "min_free_percent") // 100
    found = {
        "isolated": compact(plan.isolated),
        "isolated_mask": mask(plan.isolated),
        "isolated_count": str(len(plan.isolated)),
        "housekeeping": compact(plan.housekeeping),
        "housekeeping_mask": mask(plan.housekeeping),
        "housekeeping_count": str(len(plan.housekeeping)),
        "vcpus": str(len(facts.topology.cpus)),
        "memory_kib": str(facts.memory_kib),
        "memory_bytes": str(facts.memory_kib * 1024),
        "memory_pages": str(facts.memory_kib // _PAGE_KIB),
        "hugepages": str(facts.memory_kib * _percent(given, "hugepages_percent") // 100 // _HUGEPAGE_KIB),
        "min_free_kib": str(max(smallest, min(largest, min_free_kib))),
        "interface": facts.interface,
    }
    return {**found, **given}


def _percent(given: t.Mapping[str, str], name: str) -> int:
    text = given[name]
    if not text.isdecimal() or int(text) > 100:
        raise InvalidInput(f"the parameter {name} is {text!r}: it is a whole number from 0 to 100")
    return int(text)


def fill(template: str, names: t.Mapping[str, str]) -> str:
    """A template with its {names} filled in. Raises KeyError for a name that there is none of."""
    return _NAME.sub(lambda found: names[found[1]], template)


def names_in(template: str) -> set[str]:
    """The names that a template uses."""
    return set(_NAME.findall(template))


def resolve(wish: Wish, facts: Facts, plan: CpuPlan, catalogue: t.Mapping[str, Knob]) -> Resolved:
    """The settings of all knobs that the wish turns on, in its groups, and what is skipped here and why.

    A knob is on when the wish says so, or when it says nothing and the catalogue does. Names that are unknown are not
    looked for here (see wishes.py).
    """
    settings: list[Setting] = []
    skipped: list[Skipped] = []
    problems: list[str] = []
    try:
        names = figures(facts, plan, wish.parameters)
    except InvalidInput as error:
        problems.append(str(error))
        names = figures(facts, plan, {})
    for knob in known_knobs(wish, catalogue).values():
        asked = wish.knobs.get(knob.id, knob.enabled)
        if knob.group not in wish.groups or asked is False:
            continue
        value = asked if isinstance(asked, str) else family_value(knob, facts.family)
        reason = why_not(knob.applies_if, facts, plan)
        if not reason and value is None:
            reason = f"the catalogue has no value for the CPU family {facts.family}"
        if reason or value is None:
            skipped.append(Skipped(knob, reason))
            continue
        try:
            proofs = tuple((fill(path, names), fill(text, names)) for path, text in knob.verify)
            settings.append(Setting(knob, fill(value, names), proofs))
        except KeyError as error:
            problems.append(f"the knob {knob.id} uses {{{error.args[0]}}}, which is neither a figure nor a parameter")
    return Resolved(tuple(settings), tuple(skipped), tuple(problems))


def known_knobs(wish: Wish, catalogue: t.Mapping[str, Knob]) -> dict[str, Knob]:
    """The catalogue and the wish's own knobs, by id."""
    return {**catalogue, **{knob.id: knob for knob in wish.extra_knobs}}


def family_value(knob: Knob, family: str) -> str | None:
    """The value's template for a CPU family; none where the family does not have the knob."""
    if isinstance(knob.value, str):
        return knob.value
    return knob.value.get(family, knob.value.get("default"))


def merged(old: Wish | None, new: Wish, catalogue: t.Mapping[str, Knob]) -> Wish:
    """What is wished for a machine after a run with some groups: these as now, the other groups as before.

    The plan's figures (housekeeping, parameters) are the machine's, not a group's: the newest count for all.
    """
    if old is None:
        old = Wish()
    group_of = {knob.id: knob.group for knob in (*catalogue.values(), *old.extra_knobs, *new.extra_knobs)}
    kept = {name: asked for name, asked in old.knobs.items() if group_of.get(name) not in (None, *new.groups)}
    asked_now = {name: asked for name, asked in new.knobs.items() if group_of.get(name) in new.groups}
    extra = [knob for knob in old.extra_knobs if knob.group not in new.groups]
    extra += [knob for knob in new.extra_knobs if knob.group in new.groups]
    return Wish(
        groups=(*old.groups, *(group for group in new.groups if group not in old.groups)),
        knobs={**kept, **asked_now},
        extra_knobs=tuple(extra),
        housekeeping=new.housekeeping,
        parameters=dict(new.parameters),
    )


def without(wish: Wish, groups: t.Collection[str], catalogue: t.Mapping[str, Knob]) -> Wish:
    """What is wished after some groups are given up."""
    left = tuple(group for group in wish.groups if group not in groups)
    group_of = {knob.id: knob.group for knob in (*catalogue.values(), *wish.extra_knobs)}
    return Wish(
        groups=left,
        knobs={name: asked for name, asked in wish.knobs.items() if group_of.get(name) not in groups},
        extra_knobs=tuple(knob for knob in wish.extra_knobs if knob.group not in groups),
        housekeeping=wish.housekeeping,
        parameters=dict(wish.parameters),
    )
