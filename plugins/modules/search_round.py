#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: search_round
version_added: 0.1.0
short_description: Run one round of a search for the rack that is nearest to an exchange
description:
  - Launches one candidate instance, alone in a placement group of its own, measures TCP handshakes from it
    to every address of the endpoints, and keeps or discards it as its verdict says.
  - One execution is one round. Loop it with C(until) and P(lowlatency.ec2.champion_verdict#filter).
  - A shortage of capacity or a candidate that cannot be measured is the outcome of a round, not a failure
    of the task. The task fails only for what no further round can mend, such as credentials or bad input.
  - Runs on the controller, on a host that stands for a slot. It reaches the candidate by Ansible's own
    SSH connection, with a C(known_hosts) file of its own.
author:
  - lowlatency.ec2 contributors (@lowlatency)
options:
  search_id:
    description: The search that this round is part of. Groups, instances and the champion document carry it.
    type: str
    required: true
  endpoints:
    description: What is measured.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the endpoint in results.
        type: str
        required: true
      host:
        description: The host name that is resolved on the candidate.
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        default: 443
      addresses:
        description: Addresses to use instead of what the name resolves to.
        type: list
        elements: str
        default: []
  primary_endpoint:
    description: The name of the endpoint that decides the champion.
    type: str
    required: true
  criteria:
    description:
      - What makes an anchor. Keys are V(median_us), V(best_us) and V(best_min_hits); a missing key takes its default.
    type: dict
    default: {}
  metric:
    description:
      - Which time of a handshake is compared. V(wall) is the time around C(connect) in user space,
        V(wire) the kernel's round-trip time of the same handshake.
    type: str
    choices: [wall, wire]
    default: wall
  statistic:
    description:
      - Which figure of an address is compared with the champion's, and held against V(best_us) of O(criteria).
      - V(best) is its lowest handshake, V(p0_1) the quantile of 0.1 %, which a single lucky handshake does not move.
        With fewer than 1000 samples the two are all but the same.
    type: str
    choices: [best, p0_1]
    default: best
  confirm:
    description:
      - Whether a candidate that would replace the sitting champion is compared with it in pairs first. Both are probed
        again at the same time, in alternation, and the candidate is promoted only if it is better there too.
      - A champion that cannot be reached for that stays, unless EC2 says that it is gone.
    type: bool
    default: true
  instance_types:
    description: Instance types, tried in order, beginning one further at each round.
    type: list
    elements: str
    required: true
  image_id:
    description:
      - The image. May be C(resolve:ssm:PARAMETER), and may hold V({architecture}), which becomes V(x86_64) or V(arm64).
    type: str
    required: true
  root_device_name:
    description: The image's root device. Looked up when not given.
    type: str
  volume_size_gib:
    description: Size of the encrypted root volume in GiB; the image's own size when not given.
    type: int
  market:
    description: What is launched.
    type: str
    choices: [on-demand, spot]
    default: on-demand
  addresses_from:
    description:
      - Document of the address discoverer, for endpoints of which the search has no list of addresses yet.
      - Without it the first candidate asks DNS. All candidates of a search are probed on one list.
    type: path
  addresses_refresh_hours:
    description:
      - Hours after which the search's list of addresses is made anew.
      - Without it the list stays as it is, unless most of it is dead.
    type: float
  allow_spot_survivor:
    description: Whether a spot instance may be kept. EC2 cannot protect it from interruption.
    type: bool
    default: false
  subnet_id:
    description: The subnet to launch into.
    type: str
    required: true
  availability_zone:
    description: Name or id of the zone that O(subnet_id) must lie in.
    type: str
  security_group_ids:
    description: Security groups of the candidate.
    type: list
    elements: str
    required: true
  key_name:
    description: The EC2 key pair of the candidate.
    type: str
    required: true
  key_path:
    description: The private key file on the controller.
    type: path
    required: true
  user:
    description: The user to log in as.
    type: str
    default: ec2-user
  python_interpreter:
    description: Python on the candidate, 3.9 or later.
    type: str
    default: /usr/bin/python3
  connect:
    description: Which address of the candidate the controller connects to.
    type: str
    choices: [public, private, eip]
    default: public
  elastic_ip:
    description: The Elastic IP for O(connect=eip).
    type: str
  candidate_name:
    description: The end of the candidate's name, after the Unix time stamp.
    type: str
    default: DC-Search
  champion_store:
    description:
      - Where the champion's document is kept. Without it, in C(champion_state.json) of O(reports_dir), for searches of
        one controller.
      - V(s3://BUCKET/KEY) keeps it in an S3 object, for several controllers that search for the same champion. It is
        changed by conditional writes only, and the bucket must be there.
    type: str
  candidate_lifetime_min:
    description: Minutes after which a candidate that was not kept ends itself.
    type: int
    default: 120
  placement_group_base:
    description: The beginning of the placement group's name.
    type: str
    default: dc-machine-cpg
  tags:
    description: Further tags for the group and the instance.
    type: dict
    default: {}
  probe:
    description:
      - Options of M(lowlatency.ec2.latency_probe).
      - What adaptive mode decides by is the search's own, O(metric), O(criteria), O(primary_endpoint) and the champion.
    type: dict
    default: {}
    suboptions:
      samples:
        description: Handshakes for each address; in adaptive mode for each that is measured in full.
        type: int
        default: 10000
      warmup:
        description: Handshakes before the measurement.
        type: int
      probe_mode:
        description: Whether an address is measured until it is decided, or always in full.
        type: str
        choices: [adaptive, exhaustive]
        default: adaptive
      timeout_ms:
        description: Time limit of one handshake in ms.
        type: int
      max_rate:
        description: Handshakes a second in all.
        type: int
      max_rate_per_address:
        description: Handshakes a second to one address.
        type: int
      block_size:
        description: Handshakes to one address before the next one's turn.
        type: int
      connect:
        description: How the end of a handshake is waited for. Champions are compared with their own kind only.
        type: str
        choices: [blocking, spin]
        default: blocking
      cpu:
        description: The CPU to pin the probe to, V(auto) or V(any).
        type: str
      error_rate:
        description: Chance of each wrong decision of adaptive mode about a median.
        type: float
      full_addresses:
        description: How many of the best addresses adaptive mode measures in full.
        type: int
      indifference:
        description: Share of handshakes by which adaptive mode tells a median from its limit.
        type: float
      quiet_load:
        description: Load that counts as quiet.
        type: float
      quiet_timeout_s:
        description: Seconds to wait for a quiet candidate.
        type: int
      realtime:
        description: Whether to measure under C(SCHED_FIFO).
        type: bool
      resolve_attempts:
        description: How often to ask for the addresses of a host at most.
        type: int
      source_ports:
        description: How many source ports to measure from in turn.
        type: int
      verify_tls:
        description: Whether to make one TLS handshake with each address that was measured.
        type: bool
  probe_timeout_s:
    description: Seconds that the probe may take.
    type: int
    default: 1800
  launch_timeout_s:
    description: Seconds that a candidate may take to run.
    type: int
    default: 300
  ssh_timeout_s:
    description: Seconds that a running candidate may take to give a shell.
    type: int
    default: 300
  max_rounds:
    description: Rounds of this slot. The last one says that the search is over.
    type: int
    default: 200
  max_failures_in_row:
    description: Failed rounds in a row that end the search.
    type: int
    default: 5
  max_hours:
    description: Hours after which no further round begins.
    type: float
  max_usd:
    description:
      - USD that the rounds of the search may cost, over all its slots and runs. No round begins that would probably go
        beyond.
      - Needs the price of each of O(instance_types).
    type: float
  prices_usd:
    description:
      - >-
        USD for an hour of each instance type, such as V({c8g.large: 0.08}),
        or V({c8g.large: {on-demand: 0.08, spot: 0.03}}).
      - A spot instance without a spot price counts with the price on demand, which it costs at most.
    type: dict
    default: {}
  volume_usd_gib_month:
    description: USD for a GiB of the root volume in a month. Counts when O(volume_size_gib) is given too.
    type: float
  patience:
    description:
      - Rounds that gained nothing, in a row, after which the search may end because another one is expected to gain
        less than O(min_gain_us). Without it that question is not asked.
    type: int
  min_gain_us:
    description: Expected gain of another round in microseconds below which it is not worth its cost. See O(patience).
    type: float
    default: 1.0
  qualified_wanted:
    description:
      - V(0) ends the search at the first anchor. A larger number keeps candidates that meet the criteria
        until there are that many.
    type: int
    default: 0
  reports_dir:
    description: Where results are kept, and the champion document unless O(champion_store) says otherwise.
    type: path
    required: true
  access_key:
    description: AWS access key.
    type: str
  secret_key:
    description: AWS secret key.
    type: str
  session_token:
    description: AWS session token.
    type: str
  profile:
    description: AWS profile.
    type: str
  region:
    description: AWS region.
    type: str
  endpoint_url:
    description: URL of an EC2 API other than AWS's own, such as the lab's.
    type: str
  aws_ca_bundle:
    description: CA bundle for AWS connections.
    type: str
  aws_config:
    description: Options of botocore's configuration.
    type: dict
  validate_certs:
    description: Whether certificates are checked.
    type: bool
  debug_botocore_endpoint_logs:
    description: Whether modules report the AWS calls that they made.
    type: bool
extends_documentation_fragment:
  - lowlatency.ec2.boto3
attributes:
  check_mode:
    description: In check mode nothing is launched, and the search is over at once.
    support: full
  diff_mode:
    description: A round has nothing to show as a difference.
    support: none
notes:
  - Writes the results of the round under O(reports_dir), and changes the champion document by compare-and-swap only.
    What is no such document is kept beside it and made anew from the tags of the survivors.
  - When the controller ends, the round starts no further step, and what it left is taken by the next run.
seealso:
  - module: lowlatency.ec2.latency_probe
  - module: lowlatency.ec2.candidate_instance
  - module: lowlatency.ec2.champion
  - module: lowlatency.ec2.placement_group
"""

EXAMPLES = r"""
- name: Try candidates until the search is over
  lowlatency.ec2.search_round:
    search_id: tokyo
    endpoints:
      - name: fstream-mm
        host: fstream-mm.binance.com
    primary_endpoint: fstream-mm
    criteria: "{{ search_criteria }}"
    instance_types: [c8g.24xlarge, c8g.metal-24xl]
    image_id: resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}
    subnet_id: subnet-0123456789abcdef0
    security_group_ids: [sg-0123456789abcdef0]
    key_name: dc-machine
    key_path: ~/.ssh/dc-machine.pem
    reports_dir: reports
    region: ap-northeast-1
  register: search_result
  until: (search_result | lowlatency.ec2.champion_verdict(search_criteria)).search_over
  retries: 200
  delay: 0
"""

RETURN = r"""
verdict:
  description: What the measurements mean.
  returned: always
  type: dict
  contains:
    kind:
      description: The strongest of V(anchor), V(champion), V(qualified), V(rejected), V(no_capacity), V(failed).
      type: str
      returned: always
    is_champion:
      description: Whether the candidate became the champion.
      type: bool
      returned: always
    is_anchor:
      description: Whether the candidate meets the criteria.
      type: bool
      returned: always
    replaces:
      description: Instance id of the champion that it replaced.
      type: str
      returned: always
    reason:
      description: Why, in one sentence.
      type: str
      returned: always
    samples:
      description: Handshakes behind the figure that decided, V(null) where there is none.
      type: int
      returned: always
    fluke_chance:
      description: Chance that a pass by its best is luck, see P(lowlatency.ec2.champion_verdict#filter).
      type: float
      returned: always
    search_over:
      description: Whether no further round is wanted.
      type: bool
      returned: always
    stop_reason:
      description: What ended the search.
      type: str
      returned: always
search_id:
  description: The search.
  returned: always
  type: str
round_id:
  description: The round. It is also the key of its launch.
  returned: always
  type: str
round_number:
  description: The number of the round on its slot, from 1.
  returned: always
  type: int
slot:
  description: The slot.
  returned: always
  type: str
timestamp:
  description: When the round began, ISO 8601 in UTC.
  returned: always
  type: str
outcome:
  description: V(measured), V(no_capacity), V(failed) or V(none).
  returned: always
  type: str
failure:
  description: The code, step and message of what failed.
  returned: always
  type: dict
launch_attempts:
  description: The launches that were tried, with AWS's code for each that failed.
  returned: always
  type: list
  elements: dict
candidate:
  description: The instance.
  returned: always
  type: dict
probe:
  description: The result of M(lowlatency.ec2.latency_probe).
  returned: always
  type: dict
confirm:
  description:
    - The comparison in pairs with the sitting champion, V(null) where there was none. C(champion) and C(newcomer) are
      instance ids, C(outcome) is V(measured) or V(broke_off), C(failure) says who could not be measured and why.
    - C(pairs) is a list of C({first, champion_us, newcomer_us}). C(difference_us) is the median of newcomer minus
      champion, C(low_us) to C(high_us) its interval, C(error_rate) the chance that an equal newcomer is found better.
  returned: always
  type: dict
champion_before:
  description: The champion that the verdict was made against.
  returned: always
  type: dict
champion:
  description: The champion after the round.
  returned: always
  type: dict
limits:
  description:
    - The plain values that the verdict was made with.
    - C(spent_usd) is what the ended rounds of the search cost, C(under_way_usd) what those are expected to that have
      not ended, and C(next_usd) what one more is; V(null) where no price is known.
    - C(figures_us) are the figures of the candidates before this one, with V(null) for one that is only known to be no
      better than the champion. Empty without O(patience).
  returned: always
  type: dict
scheduled_events:
  description:
    - What AWS had scheduled for survivors when the slot began, as M(lowlatency.ec2.candidate_instance_info) shows it,
      each with its C(instance_id).
  returned: always
  type: list
  elements: dict
timings:
  description: Seconds of each step.
  returned: always
  type: dict
cost_usd:
  description: What the round cost in USD, from its launch to the request to terminate. V(null) without a price.
  returned: always
  type: float
"""
