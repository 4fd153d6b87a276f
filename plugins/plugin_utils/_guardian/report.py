# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the acts of a guardian from its job, and the report on them."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Client
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.direct import connect
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import StoreError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import (
    Intent,
    IntentUnreadable,
    read_intent,
    remove_intent,
    report_path,
    write_intent,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import open_store
from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import write_whole
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.acts import Ending
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports

USER_AGENT = "lowlatency.ec2-guardian"

Document = dict[str, t.Any]


def newest(reports_dir: str, told: Mapping[str, t.Any]) -> Intent:
    """The intent that the worker had told last, or the one on the disk when that is newer."""
    intent = Intent.from_dict(told)
    try:
        kept = read_intent(reports_dir, intent.round_id)
    except IntentUnreadable:
        return intent
    return kept if kept is not None and kept.serial > intent.serial else intent


def end_round(
    job: Mapping[str, t.Any],
    told: Mapping[str, t.Any],
    cancel_timer: Callable[[Mapping[str, t.Any]], str | None],
    out_of_time: type[BaseException],
    *,
    client: Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Document:
    """Finish or undo a round, write what became of it, and return that. Stops where C(out_of_time) is raised."""
    reports_dir = job["reports_dir"]
    intent = newest(reports_dir, told)
    began_s = time.monotonic()
    report = _blank(intent)
    ending: Ending | None = None
    try:
        store = open_store(job["champion_store"], job["reports_dir"], lambda: connect(job["aws"], USER_AGENT, "s3"))
        ending = Ending(
            intent,
            client=client or connect(job["aws"], USER_AGENT),
            store=store,
            cancel_timer=cancel_timer,
            forget_host_key=lambda instance_id: _forget(job["access"]["known_hosts"], instance_id),
            sleep=sleep,
        )
        ending.run()
        with contextlib.suppress(StoreError):
            state = store.read()
            report["champion"] = (state.champion or {}).get("instance_id")
            if intent.promotion is not None:
                Reports(reports_dir).write_finished(intent.promotion, state.to_dict())
    except out_of_time:
        report["failure"] = "the time was up"
    except Exception as error:
        # Whatever it is, the report must tell it: there is nobody else to hear it.
        report["failure"] = f"{type(error).__name__}: {error}"
    if ending is not None:
        report.update(found=ending.found, did=ending.did, left=ending.left)
    report["took_s"] = round(time.monotonic() - began_s, 1)
    _close(reports_dir, intent, report)
    return report


def _blank(intent: Intent) -> Document:
    return {
        "schema_version": 1,
        "round_id": intent.round_id,
        "search_id": intent.search_id,
        "slot": intent.slot,
        "began_at": intent.began_at,
        "interrupted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "step": intent.step,
        "found": [],
        "did": [],
        "left": [],
        "champion": None,
        "failure": None,
        "took_s": 0.0,
    }


def _close(reports_dir: str, intent: Intent, report: Mapping[str, t.Any]) -> None:
    """Write the report, and let go of the intent, unless something is left for the next run."""
    with contextlib.suppress(OSError):
        write_whole(report_path(reports_dir, intent.round_id), json.dumps(report, indent=2) + "\n")
    if report["left"] or report["failure"]:
        with contextlib.suppress(OSError):
            write_intent(reports_dir, intent.newer(guardian=None))
    else:
        remove_intent(reports_dir, intent.round_id)


def _forget(known_hosts: str, instance_id: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(known_hosts, instance_id))
