# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of these tests' own. They need root on Linux."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_region.network.layout import LabNetwork
from simulated_exchange import INDEX, SimulatedExchange
from support.lab import reserved


@pytest.fixture(scope="package", autouse=True)
def index_of_our_own() -> Iterator[None]:
    """Another run of these tests, beside this one, has its turn later."""
    with reserved(INDEX, INDEX + 1, INDEX + 2):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root on Linux"))


@pytest.fixture
def network() -> Iterator[LabNetwork]:
    """A network that is not up yet."""
    network = LabNetwork(INDEX)
    network.down()
    yield network
    network.down()


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedExchange]:
    """A network with listener, DNS and delay line, in which two addresses of the first endpoint are dead."""
    exchange = SimulatedExchange(tmp_path_factory.mktemp("exchange"))
    try:
        exchange.up()
        yield exchange
    finally:
        exchange.down()


@pytest.fixture(scope="module")
def hidden_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedExchange]:
    """The same with 56 addresses an endpoint."""
    exchange = SimulatedExchange(tmp_path_factory.mktemp("pool"), index=INDEX + 1, addresses_per_endpoint=56)
    try:
        exchange.up()
        yield exchange
    finally:
        exchange.down()
