#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: search_stop
version_added: 0.1.0
short_description: Ask a running search to end after its rounds
description:
  - Keeps a request beside the results of a search. Each of its slots looks at it between rounds, and while it waits for
    capacity, and then begins no further round. Rounds that are under way are finished.
  - A search that begins takes the request of an earlier one back.
author:
  - lowlatency.ec2 contributors (@lowlatency)
options:
  search_id:
    description: The search.
    type: str
    required: true
  reports_dir:
    description: Where its results are kept. It must be there.
    type: path
    required: true
  reason:
    description: Why, for those who read the request.
    type: str
  state:
    description: Whether there is to be a request. One that is there already is left as it is.
    type: str
    choices: [requested, absent]
    default: requested
extends_documentation_fragment:
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.changing
seealso:
  - module: lowlatency.ec2.search_round
"""

EXAMPLES = r"""
- name: Ask the search to end after its rounds
  lowlatency.ec2.search_stop:
    search_id: dc-machine
    reports_dir: reports
    reason: the exchange is down for maintenance

- name: Take the request back
  lowlatency.ec2.search_stop:
    search_id: dc-machine
    reports_dir: reports
    state: absent
"""

RETURN = r"""
request:
  description: The request as it stands, V(null) where there is none.
  returned: success
  type: dict
  contains:
    requested_at:
      description: When it was asked, ISO 8601 in UTC.
      returned: always
      type: str
    reason:
      description: Why.
      returned: always
      type: str
"""

import os
import typing as t
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stop_request import StopRequests, stop_requests


def settle(requests: StopRequests, options: t.Mapping[str, t.Any], now: datetime, check: bool) -> dict[str, t.Any]:
    """Bring the request to the state that is wanted; returns the module's result. Raises StopRequestError."""
    before = requests.read()
    after: dict[str, t.Any] | None = None
    if options["state"] == "requested":
        asked = {"requested_at": now.isoformat(timespec="seconds"), "reason": options["reason"]}
        after = asked if before is None else before
    if before != after and not check:
        if after is None:
            requests.clear()
        else:
            requests.write(after)
    return {"changed": before != after, "request": after, "diff": {"before": before or {}, "after": after or {}}}


def main() -> None:
    """Run the module."""
    argument_spec = {
        "search_id": {"type": "str", "required": True},
        "reports_dir": {"type": "path", "required": True},
        "reason": {"type": "str"},
        "state": {"type": "str", "choices": ["requested", "absent"], "default": "requested"},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    folder = module.params["reports_dir"]
    if not os.path.isdir(folder):
        if module.params["state"] == "absent":
            module.exit_json(changed=False, request=None)
        module.fail_json(msg=f"search_reports_dir: {folder!r} is no folder, so that no search keeps its results there")
    try:
        requests = stop_requests(folder, module.params["search_id"])
        result = settle(requests, module.params, datetime.now(timezone.utc), module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
