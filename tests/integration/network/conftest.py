# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A region for the playbooks of set-up: the simulated API, without machines behind it."""

from __future__ import annotations

import http.server
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_controller import Controller

if t.TYPE_CHECKING:
    from support.region import TestRegion


@pytest.fixture(scope="session")
def whole_region() -> Iterator[TestRegion]:
    from support.region import TestRegion  # noqa: PLC0415  moto is slow to import

    region = TestRegion()
    yield region
    region.api.stop()


@pytest.fixture
def controller(whole_region: TestRegion, tmp_path: Path) -> Controller:
    """A controller before a region in which nobody has done anything yet."""
    whole_region.reset()
    return Controller(region=whole_region, folder=tmp_path)


@pytest.fixture(scope="module")
def standing(whole_region: TestRegion, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A controller before a region that was set up, with an Elastic IP; for tests that change nothing."""
    whole_region.reset()
    controller = Controller(region=whole_region, folder=tmp_path_factory.mktemp("standing"))
    controller.planned = controller.play("setup", "--check", "--diff", network_allocate_elastic_ip=True)
    controller.writes_of_plan = controller.writes()
    controller.made = controller.play("setup", "--diff", network_allocate_elastic_ip=True)
    return controller


class CheckIp(http.server.BaseHTTPRequestHandler):
    """Tells everybody the same address, as the service does: with a newline."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"203.0.113.7\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def checkip() -> Iterator[str]:
    """The URL of somebody who says that this controller is at 203.0.113.7."""
    server = http.server.HTTPServer(("127.0.0.1", 0), CheckIp)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
