# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of a real device by the ioctl, in two namespaces with a cable between them, and the way to an address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.ping_rig import CLIENT_DEVICE, PEER, ROOT, PingRig, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

_LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.allowances import *
print(json.dumps({
    "statistics": device_statistics(sys.argv[2]),
    "interfaces": interfaces_towards(sys.argv[3:]),
    "allowances": read_allowances(interfaces_towards(sys.argv[3:])),
}))
"""

# The user nobody, who may ask as well.
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PingRig]:
    with PingRig(tmp_path_factory.mktemp("rig")) as made:
        yield made


def look(rig: PingRig, *prefix: str) -> dict[str, Any]:
    collections = str(ROOT / ".venv" / "collections")
    command = [*prefix, sys.executable, "-B", "-c", _LOOK, collections, CLIENT_DEVICE, PEER, "127.0.0.1"]
    done = subprocess.run(rig.in_client(command), check=True, capture_output=True, text=True, timeout=60)
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_statistics_are_the_driver_s_own(rig: PingRig) -> None:
    shown = look(rig)
    links = ["ip", "-n", rig.peer, "-json", "link", "show", "type", "veth"]
    peer = json.loads(subprocess.run(links, check=True, capture_output=True, text=True).stdout)[0]
    # A veth's first statistic is the index of the other end.
    assert shown["statistics"]["peer_ifindex"] == peer["ifindex"]


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="ethtool is not installed")
def test_statistics_are_those_that_ethtool_shows(rig: PingRig) -> None:
    ethtool = rig.in_client(["ethtool", "-S", CLIENT_DEVICE])
    output = subprocess.run(ethtool, check=True, capture_output=True, text=True).stdout
    lines = (line.strip().rpartition(": ") for line in output.splitlines()[1:])
    by_program = {name: int(value) for name, _colon, value in lines}
    assert len(by_program) > 1
    by_ioctl = look(rig)["statistics"]
    assert list(by_ioctl) == list(by_program)
    # Counters may have moved between the two; where they stand still they agree.
    assert by_ioctl["peer_ifindex"] == by_program["peer_ifindex"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.skipif(not os.access(sys.executable, os.X_OK), reason="the interpreter is root's alone")
def test_no_privilege_is_needed(rig: PingRig) -> None:
    readable = subprocess.run([*NOBODY, sys.executable, "-c", ""], check=False, capture_output=True).returncode == 0
    if not readable:
        pytest.skip("nobody can't run the interpreter")
    assert look(rig, *NOBODY)["statistics"] == look(rig)["statistics"]


def test_way_to_an_address_is_its_device_and_a_veth_has_no_allowances(rig: PingRig) -> None:
    shown = look(rig)
    assert shown["interfaces"] == [CLIENT_DEVICE]
    assert shown["allowances"] == {}
