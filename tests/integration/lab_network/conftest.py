# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of these tests' own. They need root on Linux."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_region.network.layout import LabNetwork
from simulated_exchange import SimulatedExchange
from support.lab_index import free_index


@pytest.fixture(scope="module")
def index() -> Iterator[int]:
    """A lab index for networks that a test brings up and takes down itself."""
    with free_index() as index:
        yield index


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root on Linux"))


@pytest.fixture
def network(index: int) -> Iterator[LabNetwork]:
    """A network that is not up yet."""
    network = LabNetwork(index)
    yield network
    network.down()


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedExchange]:
    """A network with listener, DNS and delay line, in which two addresses of the first endpoint are dead."""
    with up(tmp_path_factory.mktemp("exchange")) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def hidden_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedExchange]:
    """The same with 56 addresses an endpoint."""
    with up(tmp_path_factory.mktemp("pool"), addresses_per_endpoint=56) as exchange:
        yield exchange


@contextmanager
def up(folder: Path, **options: int) -> Iterator[SimulatedExchange]:
    """An exchange at a free index, up as long as the context lasts."""
    with free_index() as index:
        exchange = SimulatedExchange(folder, index, **options)
        try:
            exchange.up()
            yield exchange
        finally:
            exchange.down()
