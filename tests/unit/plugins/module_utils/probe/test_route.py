# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's way to an address, asked of this kernel; tests/integration/ping asks in namespaces of its own."""

from __future__ import annotations

import socket
import struct

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe import route
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.route import Path, path_to


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9"])
def test_loopback(address: str) -> None:
    path = path_to(address)
    assert (path.device, path.loopback) == ("lo", True)


def test_an_error_is_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -101)
    monkeypatch.setattr(route, "_asked", lambda _packed: refused)
    assert path_to("198.18.0.1") == Path(None, None, False)


def test_attributes_are_read_whatever_their_order_and_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    index = socket.if_nametoindex("lo")
    attributes = struct.pack("=HHB3x", 5, 99, 1) + struct.pack("=HH4s", 8, 7, socket.inet_aton("198.18.0.9"))
    attributes += struct.pack("=HHI", 8, 4, index)
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 0, 0, 1, 0) + attributes
    monkeypatch.setattr(route, "_asked", lambda _packed: struct.pack("=IHHII", 16 + len(body), 24, 0, 1, 0) + body)
    assert path_to("198.18.0.1") == Path("lo", "198.18.0.9", True)
