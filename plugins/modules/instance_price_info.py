#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_price_info
short_description: Look up what instance types cost
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Looks up what an hour of an instance type with Linux costs, on demand in AWS's price list
    (C(pricing:GetProducts)), on the spot market in EC2 (C(ec2:DescribeSpotPriceHistory)).
  - A price that cannot be found is no error; RV(reason) tells why.
options:
  instance_types:
    description: The types.
    type: list
    elements: str
    required: true
  market:
    description: Which price is wanted. On the spot market it is that of the dearest zone, as it is now.
    type: str
    choices: [on-demand, spot]
    default: on-demand
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - lowlatency.ec2.boto3
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.info
  - lowlatency.ec2.attributes.action_group
notes:
  - With O(endpoint_url) the price list is not asked, since there is none but AWS's own.
seealso:
  - module: lowlatency.ec2.search_round
"""

EXAMPLES = r"""
- name: Look up what a search would cost
  lowlatency.ec2.instance_price_info:
    instance_types: [c8g.24xlarge, c8g.metal-24xl]
    region: ap-northeast-1
  register: found

- name: Show it
  ansible.builtin.debug:
    var: found.prices_usd
"""

RETURN = r"""
prices_usd:
  description: By type and market, USD for an hour. A type whose price was not found is missing.
  returned: success
  type: dict
  sample: {"c8g.24xlarge": {"on-demand": 4.8}}
reason:
  description: Why prices are missing, V(null) if none is.
  returned: success
  type: str
"""

import typing as t
from datetime import datetime, timezone

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error, ec2_client
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.prices import (
    PRICE_LIST_REGION,
    describe_spot_price_history,
    get_products,
    on_demand_usd,
    spot_usd,
)

Prices = dict[str, t.Optional[float]]


def look_up(module: AnsibleAWSModule, types: list[str], market: str) -> Prices:
    """USD for an hour of each type, None where there is no such price. Raises Ec2Error."""
    if market == "spot":
        found = spot_usd(describe_spot_price_history(ec2_client(module), types, datetime.now(timezone.utc)))
        return {name: found.get(name) for name in types}
    client = module.client("pricing", region=PRICE_LIST_REGION)
    return {name: on_demand_usd(get_products(client, module.region, name)) for name in types}


def find(module: AnsibleAWSModule, types: list[str], market: str) -> tuple[Prices, str | None]:
    """The prices that could be found, and why others could not."""
    if market == "on-demand" and module.params["endpoint_url"]:
        return {}, "the price list is AWS's own and not asked with endpoint_url"
    try:
        prices = look_up(module, types, market)
    except Ec2Error as error:
        return {}, f"{error.message}: {error.code or error.detail}"
    missing = [name for name in types if prices[name] is None]
    return prices, f"there is no {market} price of {', '.join(missing)} in {module.region}" if missing else None


def main() -> None:
    """Run the module."""
    argument_spec = {
        "instance_types": {"type": "list", "elements": "str", "required": True},
        "market": {"type": "str", "choices": ["on-demand", "spot"], "default": "on-demand"},
    }
    module = AnsibleAWSModule(argument_spec=argument_spec, supports_check_mode=True)
    market = module.params["market"]
    prices, reason = find(module, module.params["instance_types"], market)
    known = {name: {market: usd} for name, usd in prices.items() if usd is not None}
    module.exit_json(changed=False, prices_usd=known, reason=reason)


if __name__ == "__main__":
    main()
