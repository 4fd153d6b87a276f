# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""instance_price_info: AWS's price list as it answers, and the simulated region's spot market."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.prices import on_demand_usd, spot_usd
from ansible_collections.lowlatency.ec2.plugins.modules import instance_price_info
from botocore.session import get_session
from botocore.stub import ANY, Stubber
from support.modules import run_module
from support.region import TestRegion


def product(*usd: str, unit: str = "Hrs", term: str = "OnDemand") -> str:
    """A product of the price list, as the API gives it: JSON in a string."""
    dimensions = {f"K.{i}": {"unit": unit, "pricePerUnit": {"USD": each}} for i, each in enumerate(usd)}
    return json.dumps({"product": {"sku": "K"}, "terms": {term: {"K.T": {"priceDimensions": dimensions}}}})


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([product("0.1001000000")], 0.1001),
        ([product("0.1"), product("0.2")], 0.2),
        ([product("0.0000000000"), product("0.1")], 0.1),
        ([product("0.0000000000")], None),
        ([product("0.1", unit="Quantity")], None),
        ([product("0.1", term="Reserved")], None),
        (['{"product": {}}'], None),
        ([], None),
    ],
)
def test_the_hour_on_demand(products: list[str], expected: float | None) -> None:
    assert on_demand_usd(products) == expected


def test_the_spot_price_is_that_of_the_dearest_zone() -> None:
    rows = [("c8g.large", "0.03"), ("c8g.large", "0.05"), ("c7i.large", "0.04")]
    history = [{"InstanceType": kind, "SpotPrice": usd} for kind, usd in rows]
    assert spot_usd(history) == {"c8g.large": 0.05, "c7i.large": 0.04}


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Stubber]:
    """AWS's price list, with answers that the test gives."""
    client = get_session().create_client(
        "pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
    )

    def stubbed(_module: AnsibleAWSModule, service: str, **where: t.Any) -> t.Any:
        assert (service, where) == ("pricing", {"region": "us-east-1"})
        return client

    monkeypatch.setattr(AnsibleAWSModule, "client", stubbed)
    with Stubber(client) as stubber:
        yield stubber


def look_up(*types: str, **options: t.Any) -> dict[str, t.Any]:
    return run_module(instance_price_info.main, {"instance_types": list(types), "region": "ap-northeast-1", **options})


def test_prices_on_demand_are_looked_up_for_the_region(price_list: Stubber) -> None:
    asked: list[dict[str, t.Any]] = []
    price_list.add_response(
        "get_products", {"PriceList": [product("0.1001")]}, {"ServiceCode": "AmazonEC2", "Filters": ANY}
    )
    price_list.add_response("get_products", {"PriceList": []}, {"ServiceCode": "AmazonEC2", "Filters": ANY})
    price_list.client.meta.events.register(
        "before-parameter-build.pricing.GetProducts", lambda params, **_more: asked.append(params)
    )
    found = look_up("c8g.large", "c0.none")
    assert found["prices_usd"] == {"c8g.large": {"on-demand": 0.1001}}
    assert found["reason"] == "there is no on-demand price of c0.none in ap-northeast-1"
    wanted = {each["Field"]: each["Value"] for each in asked[0]["Filters"]}
    assert wanted["regionCode"] == "ap-northeast-1" and wanted["instanceType"] == "c8g.large"
    assert wanted["operatingSystem"] == "Linux" and wanted["tenancy"] == "Shared"


def test_a_price_list_that_may_not_be_asked_is_no_error(price_list: Stubber) -> None:
    price_list.add_client_error("get_products", "AccessDeniedException", "no", 400)
    found = look_up("c8g.large")
    assert found["prices_usd"] == {}
    assert "AccessDeniedException" in found["reason"]


def test_with_an_endpoint_of_its_own_the_price_list_is_not_asked(region_api: TestRegion) -> None:
    region_api.forget_calls()
    found = region_api.run_module(instance_price_info.main, instance_types=["c8g.large"])
    assert (found["prices_usd"], found["reason"]) == ({}, "the price list is AWS's own and not asked with endpoint_url")
    assert region_api.calls == []


def test_spot_prices_come_from_the_region(region_api: TestRegion) -> None:
    region_api.forget_calls()
    found = region_api.run_module(instance_price_info.main, instance_types=["c5.large", "c0.none"], market="spot")
    assert found["prices_usd"]["c5.large"]["spot"] > 0
    assert "c0.none" not in found["prices_usd"] and "c0.none" in found["reason"]
    assert region_api.write_calls() == []
