# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address discoverer as the role writes it, on this machine and without its timer."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from support.discoverer import Discoverer, play
from support.parts import imported_parts, part_file

ROOT = Path(__file__).resolve().parents[4]
ROLE = ROOT / "roles/probe"
#: Nothing listens at the port that goes with it.
REFUSES = "127.0.0.2"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the role put the discoverer."""
    folder = tmp_path_factory.mktemp("discoverer")
    play(folder)
    return folder


@pytest.fixture
def discoverer(deployed: Path, tmp_path: Path) -> Discoverer:
    return Discoverer(deployed / "address-discoverer", tmp_path)


@pytest.fixture
def port() -> Iterator[int]:
    """A port of 127.0.0.1 where connections are accepted; the same one of 127.0.0.2 refuses."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=256)) as listener:
        yield listener.getsockname()[1]


def endpoint(port: int, *addresses: str, host: str = "localhost") -> list[dict[str, t.Any]]:
    return [{"name": "mine", "host": host, "port": port, "addresses": list(addresses)}]


# -- the program -----------------------------------------------------------------------------------------


def test_it_finds_an_address_tries_it_and_tells(discoverer: Discoverer, port: int) -> None:
    done = discoverer.run(endpoints=endpoint(port, REFUSES))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mine: 1 of 2 checked answer, 2 known, 0 dead"]
    known = discoverer.endpoints()["mine"]
    assert (known["host"], known["port"]) == ("localhost", port)
    alive, refused = known["addresses"]["127.0.0.1"], known["addresses"][REFUSES]
    assert (alive["checks"], alive["failures"]) == (1, 0)
    assert alive["first_seen"] <= alive["last_alive"] == alive["last_checked"]
    assert (refused["checks"], refused["failures"], refused["last_alive"]) == (1, 1, None)


def test_a_second_pass_goes_on_with_the_book(discoverer: Discoverer, port: int) -> None:
    discoverer.run(endpoints=endpoint(port))
    first = discoverer.endpoints()["mine"]["addresses"]["127.0.0.1"]
    discoverer.run(endpoints=endpoint(port))
    second = discoverer.endpoints()["mine"]["addresses"]["127.0.0.1"]
    assert (second["checks"], second["first_seen"]) == (2, first["first_seen"])


def test_an_address_that_dns_no_longer_names_stays_while_it_answers(discoverer: Discoverer, port: int) -> None:
    discoverer.run(endpoints=endpoint(port, "127.0.0.1", host="127.0.0.3"))
    discoverer.run(endpoints=endpoint(port, host="127.0.0.3"))
    known = discoverer.endpoints()["mine"]["addresses"]
    assert known["127.0.0.1"]["checks"] == 2
    assert known["127.0.0.1"]["last_alive"] == known["127.0.0.1"]["last_checked"]


def test_a_dead_address_expires_and_the_others_stay(discoverer: Discoverer, port: int) -> None:
    settings = {"endpoints": endpoint(port, host="localhost"), "expire_h": 1}
    discoverer.run(**{**settings, "endpoints": endpoint(port, REFUSES)})
    document = json.loads(discoverer.document.read_text(encoding="utf-8"))
    old = dict.fromkeys(("first_seen", "last_seen", "last_alive", "last_checked"), "2020-01-01T00:00:00+00:00")
    document["endpoints"]["mine"]["addresses"][REFUSES].update(old, failures=2, failures_in_row=2)
    discoverer.document.write_text(json.dumps(document), encoding="utf-8")
    discoverer.run(**settings)
    known = discoverer.endpoints()["mine"]
    assert list(known["addresses"]) == ["127.0.0.1"]
    assert known["dead"] == {}


def test_an_endpoint_that_refuses_everybody_is_left_alone(discoverer: Discoverer, port: int) -> None:
    told = discoverer.run(endpoints=endpoint(port, host=REFUSES)).stdout
    assert "all refuse: left alone for 600 s" in told
    discoverer.run(endpoints=endpoint(port, host=REFUSES))
    known = discoverer.endpoints()["mine"]
    assert known["refusals_in_row"] == 1
    assert known["addresses"][REFUSES]["checks"] == 1


def test_a_name_that_is_not_there_is_told_and_the_book_stays(discoverer: Discoverer, port: int) -> None:
    nowhere = "nowhere.invalid"
    discoverer.run(endpoints=endpoint(port, "127.0.0.1", host=nowhere))
    done = discoverer.run(endpoints=endpoint(port, host=nowhere))
    assert done.returncode == 0
    assert re.search(rf"mine: DNS says EAI_\w+ of {nowhere}", done.stdout)
    assert discoverer.endpoints()["mine"]["addresses"]["127.0.0.1"]["checks"] == 2


@pytest.mark.parametrize("broken", ["", "{", '{"schema_version": 2, "endpoints": {}}', "[" * 100_000, "\x00\x01"])
def test_a_document_that_cannot_be_read_is_put_aside(discoverer: Discoverer, port: int, broken: str) -> None:
    discoverer.document.write_text(broken, encoding="utf-8")
    done = discoverer.run(endpoints=endpoint(port))
    assert done.returncode == 0, done.stderr
    assert "begun anew" in done.stdout
    assert discoverer.document.with_name("addresses.json.unreadable").read_text(encoding="utf-8") == broken
    assert list(discoverer.endpoints()["mine"]["addresses"]) == ["127.0.0.1"]


def test_two_endpoints_that_share_an_address_cost_one_handshake(discoverer: Discoverer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        shared = listener.getsockname()[1]
        both = [{"name": name, "host": "localhost", "port": shared} for name in ("one", "other")]
        discoverer.run(endpoints=both)
        listener.settimeout(0.5)
        accepted = 0
        while True:
            try:
                listener.accept()[0].close()
            except TimeoutError:
                break
            accepted += 1
    assert accepted == 1
    assert [known["addresses"]["127.0.0.1"]["checks"] for known in discoverer.endpoints().values()] == [1, 1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "endpoints: []"),
        ({"endpoints": ["host"]}, "endpoints: 'host'"),
        ({"endpoints": [{"name": "mine"}]}, "endpoints.host: None"),
        ({"endpoints": endpoint(0)}, "endpoints[0].port: 0"),
        ({"endpoints": endpoint(9), "expire_h": 0}, "expire_h: 0"),
        ({"endpoints": endpoint(9), "interval_s": 1}, "interval_s: 1"),
        ({"endpoints": endpoint(9), "max_rate": "fast"}, "max_rate: 'fast'"),
        ({"endpoints": endpoint(9), "sampels": 3}, "sampels: 3"),
    ],
)
def test_a_setting_that_cannot_be_is_named(discoverer: Discoverer, settings: dict[str, t.Any], told: str) -> None:
    done = discoverer.run(**settings)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not discoverer.document.exists()


def test_a_folder_that_is_not_there_is_told(discoverer: Discoverer, port: int) -> None:
    elsewhere = Discoverer(discoverer.program, discoverer.folder)
    (discoverer.folder / "addresses.json").mkdir()
    done = elsewhere.run(endpoints=endpoint(port))
    assert done.returncode == 1
    assert done.stderr.startswith("address-discoverer: ")
    assert "Traceback" not in done.stderr


# -- the role --------------------------------------------------------------------------------------------


def imports_of(path: Path, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names, as in a list of parts, of the private modules that a file imports, and of those that these do."""
    for name in sorted(imported_parts(path) - seen):
        seen = imports_of(part_file(name), seen | {name})
    return seen


@pytest.mark.parametrize(
    ("main", "parts"),
    [("handshake_probe", "__probe_parts"), ("address_discoverer", "__probe_discover_parts")],
)
def test_a_command_holds_what_it_imports_and_no_more(main: str, parts: str) -> None:
    named = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))[parts]
    assert sorted(named) == sorted(imports_of(ROLE / f"files/{main}.py"))


def test_a_second_run_changes_nothing(deployed: Path) -> None:
    assert "changed=0" in play(deployed)


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    told = play(tmp_path, "--check", "--diff")
    assert int(re.findall(r"changed=(\d+)", told)[0]) >= 3
    assert {each.name for each in tmp_path.iterdir()} & {"address-discoverer", "settings.json", "state"} == set()


@pytest.mark.parametrize("gone", [{"probe_discover": False}, {"probe_state": "absent"}], ids=["false", "absent"])
def test_it_goes_without_a_trace(deployed: Path, tmp_path: Path, gone: dict[str, t.Any]) -> None:
    shutil.copytree(deployed, tmp_path, dirs_exist_ok=True)
    assert {"address-discoverer", "settings.json", "handshake-probe"} <= {each.name for each in tmp_path.iterdir()}
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state/addresses.json").write_text("{}", encoding="utf-8")
    play(tmp_path, **gone)
    left = {each.name for each in tmp_path.iterdir()}
    assert left & {"address-discoverer", "settings.json", "state"} == set()
    assert ("handshake-probe" in left) == ("probe_state" not in gone)
    assert "changed=0" in play(tmp_path, **gone)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"probe_discover_timer": True}, "probe_discover_timer: true needs systemd, which does not run on localhost"),
        ({"probe_discover_endpoints": []}, "probe_discover_endpoints: [] names no endpoint"),
        ({"probe_discover_interval_s": 2}, "probe_discover_interval_s: 2 is below 10"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_written(
    tmp_path: Path, variables: dict[str, t.Any], told: str
) -> None:
    assert told in play(tmp_path, fails=True, **variables)
    assert not (tmp_path / "address-discoverer").exists()


def test_a_search_lends_its_endpoints(tmp_path: Path) -> None:
    searched = [{"name": "fstream-mm", "host": "fstream-mm.binance.com"}]
    play(tmp_path, probe_discover_endpoints="{{ search_endpoints | default([]) }}", search_endpoints=searched)
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["endpoints"] == searched


def test_every_variable_is_in_the_readme() -> None:
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    described = set(re.findall(r"(?m)^\| `(\w+)`", text))
    assert set(yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))) == described


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line_of_the_units(deployed: Path, tmp_path: Path) -> None:
    """The units as the role writes them; the last task, which asks the running systemd, is not reached here."""
    (tmp_path / "units.yml").write_text(
        """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [ROLE/defaults/main.yml, ROLE/vars/main.yml]
  tasks:
    - name: Write a unit
      ansible.builtin.template:
        src: ROLE/templates/addresses.{{ item }}.j2
        dest: "{{ playbook_dir }}/lowlatency-addresses.{{ item }}"
        mode: "0644"
      loop: [service, timer]
""".replace("ROLE", str(ROLE)),
        encoding="utf-8",
    )
    given = {
        "ansible_python_interpreter": sys.executable,
        "probe_discover_path": str(deployed / "address-discoverer"),
        "__probe_discover_user": "root",
    }
    subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-i", "localhost,", "units.yml", "-e", json.dumps(given)],
        check=True,
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path)},
    )
    units = [tmp_path / f"lowlatency-addresses.{kind}" for kind in ("service", "timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "lowlatency-addresses" in line]
    assert ours == []
