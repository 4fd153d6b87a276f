# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say what a machine should be tuned to."""

from __future__ import annotations


class ModuleDocFragment:
    """The wish of tuning; the same for the module that tunes and for the one that verifies."""

    DOCUMENTATION = r"""
options:
  groups:
    description:
      - Groups of knobs, of the catalogue (V(cpu), V(boot), V(memory), V(network), V(nic), V(disk), V(time),
        V(services), V(limits), V(kernel_bypass)) or of O(extra_knobs).
      - By default all groups of the catalogue but V(kernel_bypass), and those of O(extra_knobs).
    type: list
    elements: str
  knobs:
    description:
      - What differs from the catalogue, by a knob's id. V(true) turns a knob on with the catalogue's value, V(false)
        turns it off, and a text or a number turns it on with this value.
      - Write a value such as V(on) or V(off) in quotes; YAML reads it as true or false otherwise.
      - A value can be a template with names of the machine's figures, such as C({isolated}).
      - Knobs whose group is not in O(groups) are left alone.
    type: dict
    default: {}
  extra_knobs:
    description: Knobs of your own. They are treated as those of the catalogue.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: A name that no other knob has, of small letters, digits and underscores.
        type: str
        required: true
      group:
        description: One of the catalogue's groups, or a new one.
        type: str
        required: true
      means:
        description: How it is turned.
        type: str
        required: true
        choices: [sysctl, cmdline, sysfs, irq, nic, block, service, irqbalance, limits, chrony]
      target:
        description: What is turned, such as the name of a sysctl, a parameter of the kernel's command line, or a path.
        type: str
        required: true
      value:
        description: The value, as a template, or a dictionary from CPU families (or V(default)) to values.
        type: raw
        required: true
      summary:
        description: What it does, in a sentence.
        type: str
        default: A knob of one's own.
      source:
        description: Where it comes from.
        type: str
        default: own knob
      risk:
        description: How much can go wrong.
        type: str
        choices: [low, medium, high]
        default: low
      enabled:
        description: Whether it is on when O(knobs) says nothing.
        type: bool
        default: true
      effect:
        description: When the running kernel takes it. V(boot) is all that a parameter of its command line can have.
        type: str
        choices: [now, boot]
        default: now
      applies_if:
        description: Conditions that all must hold, such as V(isolation) or V(family:intel|amd).
        type: list
        elements: str
        default: []
      verify:
        description:
          - Further files of the kernel that prove that it took the value, each as a list of a path and a value.
          - In a file that lists choices, the bracketed word counts.
        type: list
        elements: list
        default: []
  housekeeping_cpus:
    description:
      - How many vCPUs the system keeps; the others are isolated. It is rounded up to whole physical cores.
      - By default it follows from the size of the machine.
    type: int
  parameters:
    description:
      - Names for templates. They replace figures of the machine, such as V(hugepages) or V(hugepages_percent), or
        join them.
    type: dict
    default: {}
"""
