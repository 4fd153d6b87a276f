# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sixteen labs fit side by side, and none can reach outside of the range for benchmarks."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from local_region.network.addressing import LAB_RANGE, LabAddressing, bridge_port_of, mac_of

LABS = [LabAddressing(index) for index in range(16)]


def test_the_first_lab_has_the_addresses_that_the_documents_name() -> None:
    lab = LabAddressing(0)
    assert lab.vpc_range == "198.18.0.0/20"
    assert lab.private_subnet == "198.18.0.0/22"
    assert (lab.router, lab.resolver) == ("198.18.0.1", "198.18.0.2")
    assert (lab.public_pool, lab.elastic_pool) == ("198.18.4.0/22", "198.18.8.0/22")
    assert (lab.controller_link, lab.controller_router, lab.controller) == (
        "198.18.15.0/24",
        "198.18.15.1",
        "198.18.15.2",
    )
    assert lab.exchange_range == "198.19.0.0/20"
    assert [lab.endpoint_addresses(k, 8)[0] for k in range(3)] == ["198.19.1.1", "198.19.2.1", "198.19.3.1"]
    assert (lab.vpc_namespace, lab.exchange_namespace) == ("ll0-vpc", "ll0-ex")


@pytest.mark.parametrize("index", [-1, 16, 1000])
def test_there_is_no_other_lab(index: int) -> None:
    with pytest.raises(ValueError, match=f"lab index {index} "):
        LabAddressing(index)


@pytest.mark.parametrize(("endpoint", "count"), [(-1, 8), (3, 8), (0, 0), (0, 255)])
def test_there_is_no_other_endpoint(endpoint: int, count: int) -> None:
    with pytest.raises(ValueError, match="endpoint number"):
        LabAddressing(0).endpoint_addresses(endpoint, count)


def test_no_two_labs_share_a_range_and_all_lie_in_the_one_for_benchmarks() -> None:
    whole = ipaddress.IPv4Network(LAB_RANGE)
    ranges = [ipaddress.IPv4Network(text) for lab in LABS for text in (lab.vpc_range, lab.exchange_range)]
    assert all(one.subnet_of(whole) for one in ranges)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: str(lab.index))
def test_the_parts_of_a_lab_lie_in_its_ranges_and_do_not_overlap(lab: LabAddressing) -> None:
    vpc, exchange = ipaddress.IPv4Network(lab.vpc_range), ipaddress.ip_network(lab.exchange_range)
    parts = [
        ipaddress.IPv4Network(text)
        for text in (
            lab.private_subnet,
            lab.public_pool,
            lab.elastic_pool,
            lab.controller_link,
            f"{lab.transit_vpc}/32",
            f"{lab.transit_exchange}/32",
        )
    ]
    assert all(part.subnet_of(vpc) for part in parts)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(parts, 2))
    for endpoint in range(3):
        assert all(ipaddress.ip_address(one) in exchange for one in lab.endpoint_addresses(endpoint, 56))


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: str(lab.index))
def test_an_instance_gets_no_address_that_aws_or_the_lab_keeps(lab: LabAddressing) -> None:
    third = 16 * lab.index
    assert lab.is_private(f"198.18.{third}.17")
    assert lab.is_private(lab.reference_address)
    for kept in (f"198.18.{third}.0", lab.router, lab.resolver, f"198.18.{third}.3", f"198.18.{third + 3}.255"):
        assert not lab.is_private(kept)
    assert lab.is_public(f"198.18.{third + 4}.9")
    assert lab.is_public(f"198.18.{third + 8}.9")
    assert not lab.is_public(f"198.18.{third}.17")


def test_device_names_fit_the_kernel_and_differ() -> None:
    addresses = [f"198.18.{third}.{host}" for third in (0, 3, 240) for host in (4, 17, 255)]
    assert len({bridge_port_of(address) for address in addresses}) == len(addresses)
    assert max(len(bridge_port_of(address)) for address in addresses) <= 15
    assert max(len(lab.controller_device) for lab in LABS) <= 15
    assert mac_of("198.18.0.17") == "02:00:c6:12:00:11"
