# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two inventories: what they set, and how the lab's instances become hosts."""

from __future__ import annotations

import http.server
import importlib.util
import ipaddress
import json
import os
import re
import subprocess
import sys
import threading
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
INVENTORY = ROOT / "inventory"


def load_region() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("lab_region", INVENTORY / "lab_region.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


region = load_region()


def group_vars(name: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", yaml.safe_load((INVENTORY / name / "group_vars" / "all.yml").read_text("utf-8")))


VARIABLES = (
    "aws_endpoint_url",
    "network_vpc_cidr",
    "network_subnet_cidr",
    "network_controller_cidr",
    "search_key_path",
)


#: What lab_machines decides.
BY_MACHINES = ("search_image_id", "search_instance_types", "search_slot_count", "search_ssh_timeout_s", "search_user")


def ansible_variables(folder: Path, *options: str, names: t.Sequence[str] = VARIABLES) -> dict[str, t.Any]:
    """The variables that a playbook on localhost sees in the lab's inventory."""
    message = "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} }}"
    program = str(Path(sys.executable).parent / "ansible")
    debug = ["-m", "ansible.builtin.debug", "-a", json.dumps({"msg": message})]
    done = subprocess.run(
        [program, "-o", "-i", str(INVENTORY / "lab" / "hosts.yml"), "localhost", *debug, *options],
        cwd=folder,  # where there is no ansible.cfg
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return t.cast("dict[str, t.Any]", json.loads(done.stdout.split("=>", 1)[1])["msg"])


def test_aws_has_the_defaults_of_the_first_search() -> None:
    variables = group_vars("aws")
    assert variables["aws_region"] == "ap-northeast-1"
    assert variables["network_availability_zone"] == "ap-northeast-1a"
    assert variables["search_instance_types"] == ["c8g.24xlarge", "c8g.metal-24xl"]
    assert variables["search_criteria"] == {"median_us": 122, "best_us": 102, "best_min_hits": 1}
    assert variables["probe_samples"] == 10000
    assert [f"{endpoint['host']}:{endpoint['port']}" for endpoint in variables["search_endpoints"]] == [
        "fapi-mm.binance.com:443",
        "ws-fapi-mm.binance.com:443",
        "fstream-mm.binance.com:443",
    ]
    assert variables["search_accept_cost"] is False


def test_the_lab_differs_only_where_it_says_why(tmp_path: Path) -> None:
    aws, lab = group_vars("aws"), {**group_vars("lab"), **ansible_variables(tmp_path, names=BY_MACHINES)}
    assert {name for name in aws.keys() & lab.keys() if aws[name] != lab[name]} == {
        "network_key_path",
        "probe_samples",
        "search_accept_cost",
        "search_max_rounds",
        "search_slot_count",
    }
    assert (lab["probe_samples"], lab["search_max_rounds"], lab["search_slot_count"]) == (500, 8, 2)


def test_machines_are_one_variable_away(tmp_path: Path) -> None:
    assert ansible_variables(tmp_path, "-e", "lab_machines=true", names=BY_MACHINES) == {
        "search_image_id": "resolve:ssm:/aws/service/debian/release/12/latest/amd64",
        "search_instance_types": ["c7i.2xlarge"],
        "search_slot_count": 1,
        "search_ssh_timeout_s": 300,
        "search_user": "admin",
    }


@pytest.mark.parametrize("name", ["aws", "lab"])
def test_every_line_says_what_it_is_for(name: str) -> None:
    lines = (INVENTORY / name / "group_vars" / "all.yml").read_text("utf-8").splitlines()
    bare = [
        line
        for before, line in zip(lines, lines[1:], strict=False)
        if re.match(r"#? ?\w+: ", line) and " # " not in line and not before.startswith("# ")
    ]
    assert bare == []


def test_lab_index_moves_everything(tmp_path: Path) -> None:
    assert ansible_variables(tmp_path) == {
        "aws_endpoint_url": "http://127.0.0.1:4566",
        "network_vpc_cidr": "198.18.0.0/20",
        "network_subnet_cidr": "198.18.0.0/22",
        "network_controller_cidr": "198.18.15.2/32",
        "search_key_path": "/run/lowlatency-lab/0/dc-machine.pem",
    }
    moved = ansible_variables(tmp_path, "-e", "lab_index=3")
    assert moved["aws_endpoint_url"] == "http://127.0.0.1:4569"
    assert moved["search_key_path"] == "/run/lowlatency-lab/3/dc-machine.pem"
    vpc = ipaddress.IPv4Network(moved["network_vpc_cidr"])
    assert vpc == ipaddress.IPv4Network("198.18.48.0/20")
    assert ipaddress.IPv4Network(moved["network_subnet_cidr"]).subnet_of(vpc)
    assert ipaddress.IPv4Network(moved["network_controller_cidr"]).subnet_of(vpc)


PAGE = """<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet>
<item><instanceId>{instance_id}</instanceId><instanceType>c8g.24xlarge</instanceType><imageId>ami-1</imageId>
<architecture>arm64</architecture><privateIpAddress>198.18.0.17</privateIpAddress>{address}
<placement><availabilityZone>ap-northeast-1a</availabilityZone><groupName>dc-machine-cpg-1</groupName></placement>
<tagSet><item><key>lowlatency:role</key><value>{role}</value></item>
<item><key>lowlatency:search-id</key><value>dc-machine</value></item></tagSet>
</item></instancesSet></item></reservationSet>{token}</DescribeInstancesResponse>"""


class TwoPages(http.server.BaseHTTPRequestHandler):
    """A region with a champion on the first page and a candidate without a public address on the second."""

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["Content-Length"])).decode()
        page = (
            PAGE.format(instance_id="i-2", role="candidate", address="", token="")
            if "NextToken=more" in query
            else PAGE.format(
                instance_id="i-1",
                role="champion",
                address="<ipAddress>198.18.4.9</ipAddress>",
                token="<nextToken>more</nextToken>",
            )
        )
        self.send_response(200 if "Action=DescribeInstances" in query else 400)
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def two_pages() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), TwoPages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run_region(**environment: str) -> dict[str, t.Any]:
    done = subprocess.run(
        [INVENTORY / "lab" / "region.sh", "--list"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def test_instances_become_hosts(two_pages: str) -> None:
    result = run_region(LAB_ENDPOINT_URL=two_pages)
    hostvars = result.pop("_meta")["hostvars"]
    assert result == {
        "aws_ec2": {"hosts": ["i-1", "i-2"]},
        "champion": {"hosts": ["i-1"]},
        "survivors": {"hosts": ["i-1"]},
        "search_dc_machine": {"hosts": ["i-1", "i-2"]},
    }
    assert hostvars["i-1"]["ec2_public_ip_address"] == "198.18.4.9"
    assert hostvars["i-1"]["ec2_placement"]["group_name"] == "dc-machine-cpg-1"
    assert hostvars["i-1"]["ec2_tags"]["lowlatency:role"] == "champion"
    assert hostvars["i-2"]["ec2_public_ip_address"] == ""


def test_a_lab_that_is_down_is_an_empty_region(two_pages: str) -> None:
    closed = http.server.HTTPServer(("127.0.0.1", 0), TwoPages)
    port = closed.server_port
    closed.server_close()
    assert run_region(LAB_ENDPOINT_URL=f"http://127.0.0.1:{port}") == {"_meta": {"hostvars": {}}}


def test_another_lab_is_asked_by_its_index() -> None:
    assert region.endpoint_url({}) == "http://127.0.0.1:4566"
    assert region.endpoint_url({"LAB_INDEX": "3"}) == "http://127.0.0.1:4569"


@pytest.mark.parametrize(
    ("role", "groups"),
    [
        ("champion", ["champion", "survivors"]),
        ("anchor", ["anchor", "survivors"]),
        ("qualified", ["survivors"]),
        ("production", ["production"]),
        ("worker", ["worker"]),
        ("ami_builder", ["ami_builder"]),
        ("candidate", []),
    ],
)
def test_groups_follow_the_role_as_the_plugin_has_them(role: str, groups: list[str]) -> None:
    assert region.group_names({"lowlatency:role": role}) == ["aws_ec2", *groups]
    plugin = yaml.safe_load((INVENTORY / "aws" / "region.aws_ec2.yml").read_text("utf-8"))
    # Conditions of Jinja that are Python too.
    expected = {name for name, when in plugin["groups"].items() if eval(when, {"ec2_tags": {"lowlatency:role": role}})}
    assert set(groups) == expected


@pytest.mark.parametrize(
    ("said", "groups"), [("true", ["anchor", "champion", "survivors"]), ("false", ["anchor", "survivors"])]
)
def test_an_anchor_can_be_the_champion_too(said: str, groups: list[str]) -> None:
    tags = {"lowlatency:role": "anchor", "lowlatency:champion": said}
    assert sorted(region.group_names(tags)) == sorted(["aws_ec2", *groups])
    plugin = yaml.safe_load((INVENTORY / "aws" / "region.aws_ec2.yml").read_text("utf-8"))
    assert {name for name, when in plugin["groups"].items() if eval(when, {"ec2_tags": tags})} == set(groups)
