# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter over the gate's core: whether a group of knobs is kept."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import judge
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate_input import options_from, runs_from


def tuning_gate_verdict(before: t.Any, after: t.Any, group: t.Any, options: t.Any = None) -> dict[str, t.Any]:
    """Judge a group of knobs from what the measuring modules gave before and after it."""
    for what, given in (("before", before), ("after", after)):
        if not isinstance(given, Mapping):
            raise AnsibleFilterError(f"tuning_gate_verdict: {what} is a dictionary, not {type(given).__name__}")
    if not isinstance(group, str) or not group:
        raise AnsibleFilterError(f"tuning_gate_verdict: group is the name of a group, not {group!r}")
    if not isinstance(options or {}, Mapping):
        raise AnsibleFilterError(f"tuning_gate_verdict: options is a dictionary, not {type(options).__name__}")
    try:
        return judge(runs_from(before), runs_from(after), group, options_from(options))
    except (ValueError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"tuning_gate_verdict: {_told(error)}") from error


def _told(error: Exception) -> str:
    return f"a result has no {error}" if isinstance(error, KeyError) else str(error)


class FilterModule:
    """Filters of this collection that judge tuning."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Filter names and what they call."""
        return {"tuning_gate_verdict": tuning_gate_verdict}
