#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ping_responder
short_description: Start or stop the small TCP server that a ping is measured against
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Starts, on the host that it runs on, a small request-reply server for P(lowlatency.ec2.ping_probe#module), or stops
    it.
  - The server is a process of its own that outlives the task. It ends by itself after O(lifetime_s), so that a run that
    dies leaves nothing behind for long.
  - It answers only peers that greet it as the probe does, with the bytes that they sent, and a bounded number of them
    at a time. It does nothing else. Started by root, it goes on as C(nobody).
  - Which process is its own it knows by process id, start time and boot, all kept in O(pid_path), so that never another
    process is stopped.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would be changed without changing anything.
    support: full
  diff_mode:
    description: Returns details on what has changed (or would be changed in C(check_mode)) when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: full
    details:
      - A server that O(lifetime_s) has ended in the meantime is started again.
options:
  state:
    description:
      - With V(started) the server runs with exactly these options. One that runs with others is replaced.
      - With V(stopped) it does not run.
    type: str
    choices: [started, stopped]
    default: started
  address:
    description:
      - IPv4 address of this host to listen at.
      - Required with O(state=started).
    type: str
  port:
    description: TCP port to listen at, from 1 to 65535.
    type: int
    default: 7007
  lifetime_s:
    description:
      - Seconds after which the server ends by itself, from 1 to 86400.
      - They are counted from the start and are not prolonged by another run of the module.
    type: int
    default: 600
  max_connections:
    description: Connections that are served at a time, from 1 to 64. Another one is closed at once.
    type: int
    default: 8
  cpu:
    description:
      - CPU for the server to stay on.
      - Without it the scheduler decides.
    type: int
  pid_path:
    description:
      - File that says which process is the server.
      - When it is not given, it is C(/run/lowlatency-ec2-ping-PORT.json) for root and
        C(~/.lowlatency-ec2-ping-PORT.json) for others.
    type: path
notes:
  - The host needs Linux 5.3 or later and Python 3.9 or later, nothing else, and no privilege for ports above 1023.
  - A firewall between the two hosts must let the port through.
seealso:
  - module: lowlatency.ec2.ping_probe
"""

EXAMPLES = r"""
- name: Answer pings on the peer for ten minutes
  lowlatency.ec2.ping_responder:
    address: 10.0.1.7

- name: Take it away
  lowlatency.ec2.ping_responder:
    state: stopped
"""

RETURN = r"""
responder:
  description: The server as it runs after the task, V(null) when it does not.
  returned: success
  type: dict
  contains:
    pid:
      description: Its process id, V(null) in check mode before it is started.
      returned: success
      type: int
      sample: 4711
    address:
      description: Where it listens.
      returned: success
      type: str
      sample: 10.0.1.7
    port:
      description: The TCP port.
      returned: success
      type: int
      sample: 7007
    lifetime_s:
      description: Seconds from its start to its end.
      returned: success
      type: int
      sample: 600
    max_connections:
      description: Connections that it serves at a time.
      returned: success
      type: int
      sample: 8
    cpu:
      description: CPU that it stays on, V(null) when the scheduler decides.
      returned: success
      type: int
    ends_in_s:
      description: Seconds until it ends by itself.
      returned: success
      type: float
      sample: 600.0
pid_path:
  description: File that says which process is the server.
  returned: success
  type: str
  sample: /run/lowlatency-ec2-ping-7007.json
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping_daemon import (
    Keeper,
    default_pid_path,
    wanted_from,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption

ARGUMENT_SPEC = dict(
    state=dict(type="str", choices=["started", "stopped"], default="started"),
    address=dict(type="str"),
    port=dict(type="int", default=7007),
    lifetime_s=dict(type="int", default=600),
    max_connections=dict(type="int", default=8),
    cpu=dict(type="int"),
    pid_path=dict(type="path"),
)


def bring_about(keeper: Keeper, params: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Start, replace or stop the server where it has to be; returns the module's result."""
    before = keeper.running()
    wanted = wanted_from(params) if params["state"] == "started" else None
    if wanted is None:
        changed = keeper.stop(check) if before else keeper.forget(check)
        after = None
    else:
        changed = not (before and keeper.serves(before, wanted))
        after = keeper.start(wanted, check) if changed else before
    shown = [None if one is None else keeper.shown(one) for one in (before, after)]
    return {
        "changed": changed,
        "responder": shown[1],
        "pid_path": keeper.path,
        "diff": {"before": {"responder": shown[0]}, "after": {"responder": shown[1]}},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", "started", ["address"])],
        supports_check_mode=True,
    )
    keeper = Keeper(module.params["pid_path"] or default_pid_path(module.params["port"]))
    try:
        result = bring_about(keeper, module.params, module.check_mode)
    except BadOption as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The responder can't be {module.params['state']}: {error}", errno=error.errno)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
