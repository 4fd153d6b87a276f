# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an hour of an instance type costs, by AWS's price list and by the spot market.

Private to lowlatency.ec2: its interface may change at any time.

The price list has endpoints in a few regions only and knows prices of all
(https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html).
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from .client import Client, InstanceErrors, retry_call

#: The region whose price list is asked.
PRICE_LIST_REGION = "us-east-1"

#: What is launched, in the words of the two services.
_LINUX_ON_DEMAND: dict[str, str] = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
_LINUX_SPOT = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")


@InstanceErrors.common_error_handler("ask the price list")
@retry_call
def get_products(pricing_client: Client, region: str, instance_type: str) -> list[str]:
    """The products of the price list that are this type on demand, with Linux, in this region; JSON texts."""
    wanted = {**_LINUX_ON_DEMAND, "regionCode": region, "instanceType": instance_type}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    pages = pricing_client.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
    return t.cast("list[str]", pages.build_full_result()["PriceList"])


@InstanceErrors.common_error_handler("ask for spot prices")
@retry_call
def describe_spot_price_history(client: Client, instance_types: Sequence[str], now: datetime) -> list[dict[str, t.Any]]:
    """The spot prices that hold at this time, one for each type and zone."""
    pages = client.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(instance_types), ProductDescriptions=list(_LINUX_SPOT), StartTime=now, EndTime=now
    )
    return t.cast("list[dict[str, t.Any]]", pages.build_full_result()["SpotPriceHistory"])


def on_demand_usd(products: Iterable[str]) -> float | None:
    """USD for an hour by the price list's products, the highest where it names several; None where it names none."""
    return max((usd for product in products for usd in _hourly_usd(json.loads(product))), default=None)


def _hourly_usd(product: Mapping[str, t.Any]) -> list[float]:
    terms = (product.get("terms") or {}).get("OnDemand") or {}
    dimensions = [each for term in terms.values() for each in (term.get("priceDimensions") or {}).values()]
    prices = [each.get("pricePerUnit", {}).get("USD") for each in dimensions if each.get("unit") == "Hrs"]
    # A reserved or a retired offer stands there with a price of 0.
    return [float(price) for price in prices if price is not None and float(price) > 0]


def spot_usd(history: Iterable[Mapping[str, t.Any]]) -> dict[str, float]:
    """USD for an hour by type, of the dearest zone: a search does not choose its zone by price."""
    found: dict[str, float] = {}
    for entry in history:
        kind, usd = str(entry["InstanceType"]), float(entry["SpotPrice"])
        found[kind] = max(usd, found.get(kind, 0.0))
    return found
