# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A candidate's life at the EC2 API: find it, keep it as wanted, end it.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import time
import typing as t

from . import calls, maintenance
from .client import Client, Ec2Error, refusal
from .launch import Launcher
from .launch_plan import FAILED_TO_START, launch_tags
from .transformations import (
    ENDING_STATES,
    LIVE_STATES,
    PROTECTION_ATTRIBUTES,
    ROLE_CANDIDATE,
    TAG_ROLE,
    TAG_ROUND,
    candidate_of,
    changed_parts,
    filters_of,
    has_tags,
    tag_changes,
)
from .waiters import WaitTimeout, wait_until

Candidate = dict[str, t.Any]
Options = t.Mapping[str, t.Any]
Result = dict[str, t.Any]

# An attribute that was just set may be read back old: EC2 is eventually consistent.
READ_BACK_S = 15.0
# As long a new instance may be missing from what EC2 shows.
SETTLE_S = 15.0
WRONG_STATE = "IncorrectInstanceState"
NOT_PERMITTED = "OperationNotPermitted"
PROTECTIONS = ("termination_protection", "stop_protection")


def check_options(options: Options) -> None:
    """Raise C(Ec2Error) for options that cannot be meant, before any call."""
    for name in ("round_id", "instance_id"):
        if options[name] is not None and not options[name].strip():
            raise Ec2Error(message=f"{name}: must not be empty")
    if options["state"] == "absent" or options["instance_id"] is not None:
        return
    if not options["instance_types"]:
        raise Ec2Error(message="instance_types: must name at least one type")
    if not options["image_id"]:
        raise Ec2Error(message="image_id: is needed to launch an instance")
    if options["market"] == "spot":
        _check_spot(options)


def _check_spot(options: Options) -> None:
    for name, unwanted in (("shutdown_behavior", "stop"), *((protection, True) for protection in PROTECTIONS)):
        if options[name] == unwanted:
            raise Ec2Error(message=f"{name}: a spot instance cannot have it ({options[name]!r} with market 'spot')")


def find(client: Client, options: Options) -> list[Candidate]:
    """The instances that O(instance_id) or else O(round_id) names, in any state.

    Raises C(Ec2Error) if both are given and the instance is of another round.
    """
    if options["instance_id"] is not None:
        named = [candidate_of(one) for one in calls.describe_instances_by_id(client, [options["instance_id"]])]
        for one in named if options["round_id"] is not None else ():
            its_round = one["tags"].get(TAG_ROUND, options["round_id"])
            if its_round != options["round_id"]:
                raise Ec2Error(message=f"round_id: instance '{one['instance_id']}' is of round '{its_round}'")
        return named
    tags = {TAG_ROUND: options["round_id"]}
    found = [candidate_of(one) for one in calls.describe_instances(client, filters_of(None, tags))]
    return [candidate for candidate in found if has_tags(candidate, tags)]


def find_shown(client: Client, options: Options) -> list[Candidate]:
    """As L(find), but look again for O(settle_timeout) while EC2 shows nothing: what it shows lags behind."""
    timeout_s = options["settle_timeout"]
    if timeout_s is None:
        timeout_s = 0 if options["instance_id"] is None else SETTLE_S
    try:
        return wait_until(lambda: find(client, options), bool, timeout_s)
    except WaitTimeout as timeout:
        return timeout.last


def _result(changed: bool, outcome: str, candidate: Candidate | None, **more: t.Any) -> Result:
    empty: Result = {"waited_s": 0.0, "launched": False, "attempts": [], "refused": {}}
    empty["diff"] = {"before": {}, "after": {}}
    return {**empty, "changed": changed, "outcome": outcome, "candidate": candidate, **more}


def present(client: Client, launcher: Launcher | None, options: Options, check_mode: bool) -> Result:
    """Keep the round's instance as wanted, or launch it; return the module's result.

    C(launcher) is null if nothing may be launched, because the instance was named by its id.
    """
    found = find_shown(client, options)
    live = [one for one in found if one["state"] in LIVE_STATES]
    if len(live) > 1:
        ids = ", ".join(sorted(one["instance_id"] for one in live))
        raise refusal(f"round_id: '{options['round_id']}' has more than one live instance: {ids}", "RoundNotUnique")
    if live:
        return _keep(client, live[0], options, check_mode)
    if launcher is None:
        state = f"is {found[0]['state']}" if found else "does not exist"
        raise refusal(f"instance_id: instance '{options['instance_id']}' {state}", "InvalidInstanceID.NotFound")
    return _launch(client, launcher, options, found, check_mode)


def _launch(client: Client, launcher: Launcher, options: Options, ended: list[Candidate], check_mode: bool) -> Result:
    launcher.prepare()
    if check_mode:
        return _result(True, "would_launch", None, diff={"before": {}, "after": _planned(options)})
    outcome, candidate = launcher.launch(ended)
    if candidate is None:
        return _result(False, outcome, None, attempts=launcher.attempts)
    if outcome == "existing":
        return {**_keep(client, candidate, options, check_mode), "attempts": launcher.attempts}
    diff = {"before": {}, "after": {**_planned(options), "instance_type": candidate["instance_type"]}}
    result = _result(True, outcome, candidate, launched=True, attempts=launcher.attempts, diff=diff)
    return _with_maintenance(client, _await_start(client, result, options), options)


def _with_maintenance(client: Client, result: Result, options: Options) -> Result:
    """Set what RunInstances does not take. A new instance has the defaults, but for what the request said."""
    candidate, wanted = result["candidate"], maintenance.wanted_of(options)
    if not result["launched"] or wanted.items() <= candidate["maintenance_options"].items():
        return result
    seen, refused = maintenance.set_options(client, candidate["instance_id"], wanted, READ_BACK_S)
    candidate = {**candidate, "maintenance_options": {**candidate["maintenance_options"], **seen}}
    return {**result, "candidate": candidate, "refused": refused}


def _planned(options: Options) -> dict[str, t.Any]:
    names = ("image_id", "market", "placement_group", "subnet_id", "termination_protection", "stop_protection")
    planned = {name: options[name] for name in names if options[name] is not None}
    behavior = options["shutdown_behavior"] or "terminate"
    return {
        **planned,
        "instance_type": options["instance_types"][0],
        "shutdown_behavior": behavior,
        "tags": launch_tags(options),
    }


def _keep(client: Client, candidate: Candidate, options: Options, check_mode: bool) -> Result:
    before, after = {}, {}
    for name, attribute in PROTECTION_ATTRIBUTES.items():
        if options[name] is not None:
            before[name] = calls.describe_instance_attribute(client, candidate["instance_id"], attribute)
            after[name] = options[name]
            if before[name] != after[name] and not check_mode:
                set_attribute(client, candidate["instance_id"], name, options[name])
    before["maintenance_options"] = candidate["maintenance_options"]
    after["maintenance_options"], refused = _keep_maintenance(client, candidate, options, check_mode)
    before["tags"] = candidate["tags"]
    after["tags"] = _reconcile_tags(client, candidate, options, check_mode)
    candidate = {**candidate, "tags": after["tags"], "maintenance_options": after["maintenance_options"]}
    diff = changed_parts(before, after)
    result = _result(before != after, "existing", candidate, diff=diff, refused=refused)
    return result if check_mode else _await_start(client, result, options)


def _keep_maintenance(
    client: Client, candidate: Candidate, options: Options, check_mode: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The maintenance options that the instance has then, and the code by option that EC2 refused."""
    before: dict[str, str] = candidate["maintenance_options"]
    wanted = {name: value for name, value in maintenance.wanted_of(options).items() if before[name] != value}
    if not wanted or check_mode:
        return {**before, **wanted}, {}
    seen, refused = maintenance.set_options(client, candidate["instance_id"], wanted, READ_BACK_S)
    return {**before, **seen}, refused


def set_attribute(client: Client, instance_id: str, name: str, value: str | bool) -> None:
    """Set O(shutdown_behavior) or a protection and read it back; raise C(Ec2Error) if EC2 says otherwise for 15 s."""
    attribute = PROTECTION_ATTRIBUTES[name]
    calls.modify_instance_attribute(client, instance_id, attribute, value)
    try:
        wait_until(
            lambda: calls.describe_instance_attribute(client, instance_id, attribute),
            lambda seen: seen == value,
            READ_BACK_S,
        )
    except WaitTimeout as timeout:
        raise refusal(
            f"{name}: was set to {value!r} on '{instance_id}', but EC2 still says {timeout.last!r} ({timeout})",
            "WaitTimeout",
        ) from timeout


def _reconcile_tags(client: Client, candidate: Candidate, options: Options, check_mode: bool) -> dict[str, str]:
    purge = options["purge_tags"] and options["tags"] is not None
    to_set, to_remove, after = tag_changes(candidate["tags"], launch_tags(options), purge)
    if to_set and not check_mode:
        calls.create_tags(client, [candidate["instance_id"]], to_set)
    if to_remove and not check_mode:
        calls.delete_tags(client, [candidate["instance_id"]], to_remove)
    return after


def _read(client: Client, candidate: Candidate) -> Candidate:
    found = calls.describe_instances_by_id(client, [candidate["instance_id"]])
    return candidate_of(found[0]) if found else {**candidate, "state": "unknown"}


def _await_start(client: Client, result: Result, options: Options) -> Result:
    """Wait until a pending candidate runs, if asked to. One that ends instead is the outcome V(failed_to_start)."""
    candidate = result["candidate"]
    if options["wait"] is False or candidate["state"] != "pending":
        return result
    began_s = time.monotonic()
    try:
        candidate = wait_until(
            lambda: _read(client, candidate),
            lambda seen: seen["state"] not in ("pending", "unknown"),
            options["wait_timeout"],
            first=candidate,
        )
    except WaitTimeout as timeout:
        facts = {**result, "candidate": timeout.last, "outcome": "timed_out"}
        raise refusal(
            f"the candidate '{candidate['instance_id']}' is '{timeout.last['state']}' and not running ({timeout})",
            "WaitTimeout",
            **facts,
        ) from timeout
    result = {**result, "waited_s": round(time.monotonic() - began_s, 3)}
    if candidate["state"] not in ENDING_STATES:
        return {**result, "candidate": candidate}
    reason = candidate["state_reason"] or {"code": None, "message": ""}
    attempts = [*result["attempts"], {"instance_type": candidate["instance_type"], **reason}]
    return {**result, "candidate": candidate, "outcome": FAILED_TO_START, "launched": False, "attempts": attempts}


def absent(client: Client, options: Options, check_mode: bool) -> Result:
    """End the instance, or all live instances of the round; return the module's result."""
    found = find_shown(client, options)
    live = [one for one in found if one["state"] in LIVE_STATES]
    if not options["force"]:
        _refuse_survivors(live)
    if live and check_mode:
        _refuse_protected(client, live, options)
    elif not check_mode:
        states = _terminate(client, live, options)
        found = [{**one, "state": states.get(one["instance_id"], one["state"])} for one in found]
        found = _await_end(client, found, options)
    ids = sorted(one["instance_id"] for one in live)
    diff = {"before": {"instance_ids": ids}, "after": {"instance_ids": []}} if ids else {"before": {}, "after": {}}
    candidate = next((one for one in found if not ids or one["instance_id"] in ids), None)
    return _result(bool(ids), "terminated" if ids else "absent", candidate, terminated_instance_ids=ids, diff=diff)


def _refuse_survivors(live: list[Candidate]) -> None:
    for one in live:
        role = one["tags"].get(TAG_ROLE, ROLE_CANDIDATE)
        if role != ROLE_CANDIDATE:
            raise refusal(
                f"instance '{one['instance_id']}' has the role '{role}'; it is terminated only with force: true",
                NOT_PERMITTED,
                candidate=one,
            )


def _refuse_protected(client: Client, live: list[Candidate], options: Options) -> None:
    """In check mode: raise what the real run would."""
    for one in live if not options["force"] else ():
        for name in PROTECTIONS:
            if calls.describe_instance_attribute(client, one["instance_id"], PROTECTION_ATTRIBUTES[name]):
                raise _protected(one)


def _protected(candidate: Candidate) -> Ec2Error:
    return refusal(
        f"instance '{candidate['instance_id']}' is protected against termination; "
        "it is terminated only with force: true",
        NOT_PERMITTED,
        candidate=candidate,
    )


def _terminate(client: Client, live: list[Candidate], options: Options) -> dict[str, str]:
    """Ask for the end of each; return their states by id."""
    return {one["instance_id"]: _terminate_one(client, one, options["force"]) for one in live}


def _terminate_one(client: Client, candidate: Candidate, force: bool) -> str:
    instance_id = candidate["instance_id"]
    try:
        return calls.terminate_instance(client, instance_id)
    except Ec2Error as error:
        if error.code != NOT_PERMITTED:
            raise
        if not force:
            raise _protected(candidate) from error
        _unprotect(client, instance_id)
        return calls.terminate_instance(client, instance_id)


def _unprotect(client: Client, instance_id: str) -> None:
    try:
        for name in PROTECTIONS:
            set_attribute(client, instance_id, name, False)
    except Ec2Error as error:
        # Another slot was quicker to end it: what is shutting down has no protection left to take off.
        if error.code != WRONG_STATE:
            raise


def _await_end(client: Client, found: list[Candidate], options: Options) -> list[Candidate]:
    """The instances as they are now, terminated if the wait was asked for."""
    if not options["wait"] or all(one["state"] == "terminated" for one in found):
        return found
    filters = filters_of({"instance-id": [one["instance_id"] for one in found]}, None)
    try:
        return wait_until(
            lambda: [candidate_of(one) for one in calls.describe_instances(client, filters)],
            lambda seen: all(one["state"] == "terminated" for one in seen),
            options["wait_timeout"],
            first=found,
        )
    except WaitTimeout as timeout:
        left = {one["instance_id"]: one["state"] for one in timeout.last if one["state"] != "terminated"}
        states = ", ".join(f"'{instance_id}' is '{state}'" for instance_id, state in sorted(left.items()))
        raise refusal(f"{states} and not terminated ({timeout})", "WaitTimeout", changed=True) from timeout
