# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's command shows, refuses and writes, as far as that needs no root."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from local_region import control, preflight
from local_region.daemon import Record
from local_region.hosts.backend import HostSpec
from local_region.hosts.boot_plan import BootPlan
from local_region.hosts.processes import ProcessId
from local_region.preflight import LabError
from local_region.settings import Settings
from local_region.truth import TruthFile

SPEC = HostSpec(
    instance_id="i-0123456789abcdef0",
    instance_type="c8g.24xlarge",
    image_id="ami-1",
    architecture="arm64",
    private_ip="198.18.80.4",
    public_ip=None,
    hostname="ip-198-18-80-4",
    rack="rack-07",
    placement_group="g-1",
    user_name="ec2-user",
    authorized_key=None,
    user_data=None,
)
LISTED = {
    "instance_id": "i-1",
    "state": "running",
    "instance_type": "c8g.24xlarge",
    "placement_group": None,
    "private_ip_address": "198.18.0.4",
    "public_ip_addresses": ["198.18.4.1", "198.18.8.1"],
}


def test_a_table_of_instances() -> None:
    header, row = control.instance_table([LISTED])
    assert header.split("  ")[0] == "instance id"
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        "i-1", "running", "c8g.24xlarge", "-", "198.18.0.4", "198.18.4.1 198.18.8.1",
    ]  # fmt: skip
    assert "rack" not in header


def test_a_table_with_racks() -> None:
    header, row = control.instance_table([{**LISTED, "rack": "rack-03"}])
    assert header.endswith("rack") and row.endswith("rack-03")


def test_no_instances() -> None:
    assert control.instance_table([]) == ["no instances"]


def test_the_truth_file_keeps_what_was_launched(tmp_path: Path) -> None:
    path = tmp_path / "new" / "reports" / "lab_truth.json"
    racks = {"rack-07": {"fstream-mm": {"198.19.83.1": 71.5}}}
    truth = TruthFile(str(path), racks, (os.getuid(), os.getgid()))
    truth.write()
    assert json.loads(path.read_text()) == {"instances": {}, "racks": racks}
    truth.add(SPEC)
    truth.add(replace(SPEC, instance_id="i-2", rack="rack-01", placement_group=None))
    assert json.loads(path.read_text())["instances"] == {
        "i-0123456789abcdef0": {"rack": "rack-07", "placement_group": "g-1"},
        "i-2": {"rack": "rack-01", "placement_group": None},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["lab_truth.json"]


def test_a_boot_plan_survives_the_way_to_the_instance() -> None:
    plan = BootPlan("i-1", "ip-1", "/run/netns/ll5-1", ("/a", "/b"), ("/usr",), "/disk", "/disk/root", 1.5, 3, 4)
    assert BootPlan.from_json(plan.to_json()) == plan


def test_a_record_survives_the_file(tmp_path: Path) -> None:
    settings = Settings.from_mapping({"index": 5, "scenario": "throttled"})
    record = Record(ProcessId(1, 2), "http://127.0.0.1:4571", [{"name": "x"}], settings, ["delay line"])
    assert Record.load(str(tmp_path)) is None
    record.save(str(tmp_path))
    assert Record.load(str(tmp_path)) == record


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LabError, match=rf"^lab_api_port: 127\.0\.0\.1:{port} is in use"):
            preflight.check_port(port)
    preflight.check_port(port)


def test_addresses_in_use_are_named() -> None:
    preflight.check_addresses([], 3)
    with pytest.raises(LabError, match=r"^lab_index: .*lab 3.*198\.18\.48\.9/24 on device tun7"):
        preflight.check_addresses(["address 198.18.48.9/24 on device tun7"], 3)


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "need_root", lambda: None)
    monkeypatch.setattr(preflight, "_TUN", "/dev/null")
    monkeypatch.setattr(preflight, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"^missing programs: ip, .*dnsmasq.*dnsmasq-base iproute2 openssh-client"):
        preflight.check_machine()


def test_a_missing_tun_device_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "need_root", lambda: None)
    monkeypatch.setattr(preflight, "_TUN", str(tmp_path / "tun"))
    with pytest.raises(LabError, match=r"/tun is missing"):
        preflight.check_machine()


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root.* user id 1000"):
        preflight.need_root()


def test_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LabError, match="Linux only, this is darwin"):
        preflight.need_root()
