# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wishes for a machine, and what is wrong with it, all at once and before anything is written. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from .facts import CpuPlan, Facts
from .model import InvalidInput, Knob, Setting


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a machine should be tuned to.

    groups: names of groups, of the catalogue or of extra_knobs. knobs: id to True (on, with the catalogue's value), False
    (off) or a text (on, with this value). extra_knobs: knobs of the user's own; their group may have any new name.
    housekeeping: how many vCPUs the system keeps, none for the plan's own figure. parameters: names for templates that
    replace or join the machine's figures (resolve.py).
    """

    groups: tuple[str, ...] = ()
    knobs: t.Mapping[str, t.Union[bool, str]] = dataclasses.field(default_factory=dict)
    extra_knobs: tuple[Knob, ...] = ()
    housekeeping: t.Optional[int] = None
    parameters: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def validate(wish: Wish, facts: Facts, plan: CpuPlan, settings: t.Sequence[Setting]) -> None:
    """Raises InvalidInput that names all that is wrong, each with its option and value."""
    problems: list[str] = []
    if problems:
        raise InvalidInput("; ".join(problems))
