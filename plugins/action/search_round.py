# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: run one round of a search on a slot. Documented in plugins/modules/search_round.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import current_owner
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import one_line
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import MendableStore, StoreError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import open_store
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGuard
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.guardian import Guardians
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.mending import MendingStore, tagged_survivors
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import (
    CandidateHost,
    ControllerModules,
    StepFailed,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import (
    ARGUMENT_SPEC,
    RoundOptions,
    check_slots,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._s3_client import s3_client

display = Display()

#: Ansible makes a new action for each try of C(until), in the same worker process: what a slot must
#: remember over its rounds lives here, by task.
_MEMORIES: dict[str, SlotMemory] = {}

#: The store of each of these tasks: a client of S3 takes a third of a second to make.
_STORES: dict[str, MendableStore] = {}


class ActionModule(ActionBase):
    """One task execution is one round."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run a round; raises AnsibleActionFail for what no further round can mend."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            return {**result, **self._round(variables)}
        except (StepFailed, StoreError, ValueError) as error:
            raise AnsibleActionFail(one_line(error)) from error

    def _round(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        _spec, args = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        slot = str(variables["inventory_hostname"])
        slots = len(variables.get("groups", {}).get("search_slots", [])) or 1
        check_slots(slots, int(variables.get("ansible_forks", slots)), args["connect"])
        options = RoundOptions.from_args(args)
        reports = Reports(options.reports_dir, options.criteria)
        reports.check_writable()
        guard = ControllerGuard()
        memory = _MEMORIES.setdefault(self._task._uuid, SlotMemory())
        modules = ControllerModules(self, variables, options.aws, guard)
        store = self._store(options)

        def say(text: str) -> None:
            display.display(one_line(f"{slot} round {memory.rounds}: {text}"))

        with guard:
            return Round(
                options,
                slot=slot,
                owner=current_owner(guard.controller_pid, slot),
                modules=modules,
                connect=lambda **where: CandidateHost(
                    self,
                    variables,
                    **where,
                    user=options.user,
                    key_path=options.key_path,
                    python=options.python_interpreter,
                    guard=guard,
                ),
                store=MendingStore(
                    store,
                    search_id=options.search_id,
                    survivors=lambda: tagged_survivors(modules, options.search_id, store.identity),
                    say=say,
                    guard=guard.check,
                    dry=bool(self._task.check_mode),
                ),
                reports=reports,
                guard=guard,
                memory=memory,
                say=say,
                guardians=Guardians(
                    reports_dir=options.reports_dir,
                    aws=options.aws,
                    user=options.user,
                    key_path=options.key_path,
                    lifetime_min=options.candidate_lifetime_min,
                    champion_store=options.champion_store,
                ),
                check_mode=bool(self._task.check_mode),
            ).run()

    def _store(self, options: RoundOptions) -> MendableStore:
        if self._task._uuid not in _STORES:
            opened = open_store(options.champion_store, options.reports_dir, lambda: s3_client(options.aws))
            _STORES[self._task._uuid] = opened
        return _STORES[self._task._uuid]
