# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules os_knobs and os_knobs_info share. Private to lowlatency.ec2: may change at any time."""

from __future__ import annotations

import os
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._tuning.catalogue import DEFAULT_GROUPS
from ._tuning.engine import Outcome
from ._tuning.host import Done, Host
from ._tuning.model import FAILED, GROUPS, InvalidInput, TuningError
from ._tuning.wishes import MEANS, Wish, extra_knob, raise_for, text_of

EXTRA_KNOB_SPEC: dict[str, t.Any] = dict(
    id=dict(type="str", required=True),
    group=dict(type="str", required=True),
    means=dict(type="str", required=True, choices=list(MEANS)),
    target=dict(type="str", required=True),
    value=dict(type="raw", required=True),
    summary=dict(type="str", default="A knob of one's own."),
    source=dict(type="str", default="own knob"),
    risk=dict(type="str", choices=["low", "medium", "high"], default="low"),
    enabled=dict(type="bool", default=True),
    effect=dict(type="str", choices=["now", "boot"], default="now"),
    applies_if=dict(type="list", elements="str", default=[]),
    verify=dict(type="list", elements="list", default=[]),
)

WISH_SPEC: dict[str, t.Any] = dict(
    groups=dict(type="list", elements="str"),
    knobs=dict(type="dict", default={}),
    extra_knobs=dict(type="list", elements="dict", default=[], options=EXTRA_KNOB_SPEC),
    housekeeping_cpus=dict(type="int"),
    parameters=dict(type="dict", default={}),
)


def host_of(module: AnsibleModule) -> Host:
    """The machine that the module runs on. Raises TuningError where it cannot be tuned at all."""
    if not sys.platform.startswith("linux"):
        raise TuningError(f"only Linux can be tuned, and this is {sys.platform}")
    if os.geteuid() != 0:
        raise TuningError("tuning needs root: set become")
    environment = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def run(command: t.Sequence[str]) -> Done:
        try:
            code, output, errors = module.run_command(
                list(command), environ_update=environment, handle_exceptions=False, expand_user_and_vars=False
            )
        except FileNotFoundError:
            return Done(127, "", f"{command[0]} is not installed")
        return Done(code, output, errors)

    return Host(run=run)


def wish_of(options: t.Mapping[str, t.Any]) -> Wish:
    """The wish of a module's options. Raises InvalidInput naming all that is wrong with its form."""
    problems: list[str] = []
    own = []
    for given in options["extra_knobs"]:
        try:
            own.append(extra_knob(given))
        except (InvalidInput, ValueError) as error:
            problems.append(str(error))
    raise_for(problems)
    groups = options["groups"]
    if groups is None:
        groups = [*DEFAULT_GROUPS, *(knob.group for knob in own if knob.group not in GROUPS)]
    return Wish(
        groups=tuple(dict.fromkeys(groups)),
        knobs={name: asked if isinstance(asked, bool) else text_of(asked) for name, asked in options["knobs"].items()},
        extra_knobs=tuple(own),
        housekeeping=options["housekeeping_cpus"],
        parameters={name: text_of(value) for name, value in options["parameters"].items()},
    )


def returned(outcome: Outcome) -> dict[str, t.Any]:
    """What both modules return of an outcome."""
    return {
        "results": [result.as_dict() for result in outcome.results],
        "counts": outcome.counts,
        "failed_knobs": outcome.ids(FAILED),
        "reboot_required": outcome.reboot_required,
        "cpu_plan": {
            "housekeeping": list(outcome.plan.housekeeping),
            "isolated": list(outcome.plan.isolated),
            "reason": outcome.plan.reason,
        },
        "machine": machine_of(outcome),
        "checks": [check.as_dict() for check in outcome.checks],
        "notes": list(outcome.notes),
    }


def summary_of(outcome: Outcome) -> str:
    """What was done or seen, in a line."""
    counts = ", ".join(f"{count} {status}" for status, count in outcome.counts.items()) or "no knob was turned"
    failed = f"; failed: {', '.join(outcome.ids(FAILED))}" if outcome.ids(FAILED) else ""
    return f"{counts}{failed}{'; a reboot is required' if outcome.reboot_required else ''}"


def machine_of(outcome: Outcome) -> dict[str, t.Any]:
    """The machine, without the kernel's configuration and the list of vCPUs, which are long."""
    facts = outcome.facts
    return {
        "family": facts.family,
        "arch": facts.arch,
        "distribution": facts.distribution,
        "version": facts.version,
        "kernel": facts.kernel,
        "vcpus": len(facts.topology.cpus),
        "cores": len(facts.topology.cores),
        "nodes": len({cpu.node for cpu in facts.topology.cpus}),
        "memory_kib": facts.memory_kib,
        "interface": facts.interface,
        "driver": facts.driver,
        "disks": list(facts.disks),
        "bootloader": facts.bootloader,
    }
