#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: champion
short_description: Show, adopt or demote the champion of a search, or make its document anew
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Works on the document in which searches keep their champion, and on the tags of the instances that it names.
  - The document is changed by compare-and-swap only, so that it may be used while searches run.
options:
  state:
    description:
      - With V(shown) nothing is changed. A document that cannot be read is told as RV(problem), and RV(document) is
        what V(rebuilt) would make.
      - With V(adopted) the instance O(instance_id) is protected, tagged and made the champion. A champion that it
        replaces is ended by the next search, unless it is also an anchor or qualified; demote it first to keep it.
      - With V(demoted) the instance O(instance_id) leaves the document. It goes on running, protected as it was, and no
        search ends it, unless O(retire) says so.
      - With V(rebuilt) survivors that only their tags know come into the document. One that cannot be read is put aside
        first and made anew from the tags. Of two champions the better one has the seat, and the other is ended by the
        next search.
    type: str
    choices: [shown, adopted, demoted, rebuilt]
    default: shown
  search_id:
    description:
      - The search, that is, the value of the tag C(lowlatency:search-id) of its instances.
    type: str
    required: true
  store:
    description:
      - Where the document is, as V(s3://BUCKET/KEY). Without it, in C(champion_state.json) of O(reports_dir).
    type: str
  reports_dir:
    description:
      - The folder of the search's results. Needed without O(store).
    type: path
  instance_id:
    description:
      - The instance to adopt or to demote.
    type: str
  figures:
    description:
      - What is known of an instance to adopt beside its tags, or better than they know it.
    type: dict
    suboptions:
      best_us:
        description: Its lowest handshake with O(figures.address), in microseconds.
        type: float
      p0_1_us:
        description: The quantile of 0.1 % of the same handshakes, in microseconds.
        type: float
      address:
        description: The address of the endpoint that it is nearest to.
        type: str
      endpoint:
        description: The name of the endpoint.
        type: str
      metric:
        description: Which time of a handshake was measured.
        type: str
        choices: [wall, wire]
      statistic:
        description: Which of the two figures counts.
        type: str
        choices: [best, p0_1]
      connect:
        description: How the end of a handshake was waited for.
        type: str
        choices: [blocking, spin]
      probe_mode:
        description: How the probe spread its samples.
        type: str
        choices: [adaptive, exhaustive]
      samples:
        description: Handshakes that were asked of each address.
        type: int
  force:
    description:
      - Whether to adopt an instance that is no better than the champion.
    type: bool
    default: false
  retire:
    description:
      - Whether the next search is to end the demoted instance.
    type: bool
    default: false
  allow_spot_survivor:
    description:
      - Whether a spot instance may be adopted. EC2 cannot protect it from interruption.
    type: bool
    default: false
  from_documents:
    description:
      - With O(state=rebuilt), further documents whose survivors are taken over, as their tag C(lowlatency:document)
        names them. Needed after a document has moved to another place.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - lowlatency.ec2.boto3
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.changing
  - lowlatency.ec2.attributes.action_group
notes:
  - An adopted instance that still has the timer of a candidate is stopped by it, not terminated. Cancel it with
    C(sudo shutdown -c) on the instance.
seealso:
  - module: lowlatency.ec2.search_round
  - module: lowlatency.ec2.candidate_instance
"""

EXAMPLES = r"""
- name: See who is champion
  lowlatency.ec2.champion:
    search_id: tokyo
    reports_dir: reports
  register: result

- name: Make a document that was lost anew from the tags of the survivors
  lowlatency.ec2.champion:
    state: rebuilt
    search_id: tokyo
    store: s3://my-bucket/tokyo.json

- name: Seat an instance that was measured by hand
  lowlatency.ec2.champion:
    state: adopted
    search_id: tokyo
    reports_dir: reports
    instance_id: i-0123456789abcdef0
    figures:
      best_us: 101.3
      address: 203.0.113.7
      endpoint: fstream-mm
      metric: wall
      samples: 10000
"""

RETURN = r"""
store:
  description: Where the document is.
  returned: success
  type: str
  sample: s3://my-bucket/tokyo.json
document:
  description: The document as it is now, or, in check mode and where it cannot be read, as it would be.
  returned: success
  type: dict
  sample: {"schema_version": 1, "generation": 3, "champion": null, "anchor": null, "qualified": [], "retiring": []}
survivors:
  description: The ids of the instances that the document wants kept.
  returned: success
  type: list
  elements: str
  sample: [i-0123456789abcdef0]
promoting:
  description:
    - The ids of instances whose promotion had begun when their round was interrupted, from O(reports_dir). The next
      search finishes it. An instance whose lifetime as a candidate is over is not among them.
  returned: success
  type: list
  elements: str
  sample: []
instances:
  description: The instances that the document names, as EC2 shows them.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id:
      description: The id of the instance.
      type: str
      returned: always
      sample: i-0123456789abcdef0
    places:
      description: Where the document names it, of V(champion), V(anchor), V(qualified) and V(retiring).
      type: list
      elements: str
      returned: always
      sample: [champion]
    state:
      description: Its state in EC2, V(gone) if EC2 does not know it.
      type: str
      returned: always
      sample: running
    instance_type:
      description: Its type.
      type: str
      returned: always
      sample: c8g.medium
    placement_group:
      description: The name of its placement group.
      type: str
      returned: always
      sample: dc-machine-cpg-1753142400-slot-1-7f3a90b1c2d4
    availability_zone:
      description: The zone that it is in.
      type: str
      returned: always
      sample: ap-northeast-1a
    public_ip_address:
      description: Its public address.
      type: str
      returned: always
      sample: 203.0.113.17
    private_ip_address:
      description: Its private address.
      type: str
      returned: always
      sample: 10.0.0.17
problem:
  description: Why the document cannot be read, or V(null).
  returned: success
  type: str
  sample: /srv/reports/champion_state.json is no champion's document
notes:
  description:
    - A line for each survivor whose tags cannot be used, where the document was made from tags, and for each round in
      O(reports_dir) that cannot be read.
  returned: success
  type: list
  elements: str
  sample: []
set_aside:
  description: Where a document that could not be read is kept now, or V(null).
  returned: success
  type: str
  sample: /srv/reports/champion_state.json.unreadable-20261122T140501Z
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._champion import Seat
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import one_line
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import MendableStore, StoreError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import (
    CONNECTS,
    METRICS,
    PROBE_MODES,
    STATISTICS,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import CLIENT_CONFIG
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import open_store

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["shown", "adopted", "demoted", "rebuilt"], "default": "shown"},
    "search_id": {"type": "str", "required": True},
    "store": {"type": "str"},
    "reports_dir": {"type": "path"},
    "instance_id": {"type": "str"},
    "figures": {
        "type": "dict",
        "options": {
            "best_us": {"type": "float"},
            "p0_1_us": {"type": "float"},
            "address": {"type": "str"},
            "endpoint": {"type": "str"},
            "metric": {"type": "str", "choices": list(METRICS)},
            "statistic": {"type": "str", "choices": list(STATISTICS)},
            "connect": {"type": "str", "choices": list(CONNECTS)},
            "probe_mode": {"type": "str", "choices": list(PROBE_MODES)},
            "samples": {"type": "int"},
        },
    },
    "force": {"type": "bool", "default": False},
    "retire": {"type": "bool", "default": False},
    "allow_spot_survivor": {"type": "bool", "default": False},
    "from_documents": {"type": "list", "elements": "str", "default": []},
}


def opened(module: AnsibleAWSModule) -> MendableStore:
    """The store that the options name."""
    store = module.params["store"]
    try:
        return open_store(
            store, module.params["reports_dir"] or "", lambda: module.client("s3", config=dict(CLIENT_CONFIG))
        )
    except ValueError as error:
        module.fail_json(msg=f"store: {store!r} {error}")


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("store", "reports_dir")],
        required_if=[("state", "adopted", ["instance_id"]), ("state", "demoted", ["instance_id"])],
        supports_check_mode=True,
    )
    try:
        result = Seat(ec2_client(module), opened(module), module.params, module.check_mode).run()
    except Ec2Error as error:
        fail(module, error)
    except (StoreError, ValueError) as error:
        module.fail_json(msg=one_line(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
