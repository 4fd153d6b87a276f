# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module's `main` in this process, with the arguments and the answer of a real run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args


class ModuleFailed(AssertionError):
    """The module ended with `failed: true`; `result` holds all it said."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(result.get("msg", "the module failed"))
        self.result = result


def run_module(
    main: Callable[[], None],
    args: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    fail_ok: bool = False,
) -> dict[str, Any]:
    """Return what the module sent to Ansible, read from its real output.

    Arguments that are None are left out, as Ansible's `omit` does. A failure raises ModuleFailed, or is
    returned with `fail_ok`.
    """
    for kind in ("_global_warnings", "_global_deprecations"):
        getattr(warnings, kind, {}).clear()  # a run of its own process would begin without those of earlier runs
    given = {name: value for name, value in args.items() if value is not None}
    given |= {"_ansible_check_mode": check, "_ansible_diff": diff}
    output = io.StringIO()
    code: object = None
    with patch_module_args(given), contextlib.redirect_stdout(output):
        try:
            main()
        except SystemExit as end:
            code = end.code
        else:
            raise AssertionError("the module neither ended with exit_json nor with fail_json")
    result: dict[str, Any] = json.loads(output.getvalue().strip().splitlines()[-1])
    if (code not in (None, 0) or result.get("failed")) and not fail_ok:
        raise ModuleFailed(result)
    return result
