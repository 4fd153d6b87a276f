# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command handshake-probe, as the role writes it, against a listener on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import (
    ALIVE,
    REFUSED,
    EndpointBook,
    checked,
    named,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import document_from
from support.parts import imported_parts, part_file
from support.plays import run_playbook

ROOT = Path(__file__).resolve().parents[4]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  roles: [lowlatency.ec2.probe]
"""


def play(folder: Path, *options: str, **variables: str) -> str:
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    given = {
        "probe_command_path": str(folder / "handshake-probe"),
        "probe_python": sys.executable,
        **variables,
    }
    done = run_playbook(folder, "play.yml", given, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, written by the role."""
    folder = tmp_path_factory.mktemp("probe")
    play(folder)
    return folder / "handshake-probe"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port of the loopback where connections are accepted."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def run(command: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without anything of this collection to be found elsewhere: one file has to do.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd="/", env=environment
    )


def test_it_measures_and_tells_a_person(command: Path, port: int) -> None:
    done = run(command, "--endpoint", f"mine=localhost:{port}", "--samples", "20")
    assert done.returncode == 0, done.stderr
    head, first, last = done.stdout.splitlines()
    assert head.startswith("ENDPOINT")
    assert first.split()[:7] == ["mine", "127.0.0.1", "20", "0", "full", "by", "count"]
    assert last == "Measured 20 handshakes with 1 address (1 full) of 1 endpoint."


def test_it_decides_by_limits_and_says_that_none_can_be_reached(command: Path, port: int) -> None:
    limits = ("--median-limit-us", "0.1", "--best-limit-us", "0.1", "--max-rate-per-address", "4000")
    done = run(command, "--endpoint", f"mine=localhost:{port}", *limits)
    assert done.returncode == 0, done.stderr
    _head, first, last = done.stdout.splitlines()
    assert first.split()[4] == "above"
    assert int(first.split()[2]) < 1_000
    assert "(1 above) of 1 endpoint. No handshake reached a limit: the lowest took " in last


def test_it_gives_the_modules_result_as_json(command: Path, port: int) -> None:
    done = run(command, "--endpoint", f"nowhere.invalid:{port}@127.0.0.1", "--samples", "20", "--json")
    result = json.loads(done.stdout)
    (endpoint,) = result["endpoints"]
    assert (endpoint["name"], endpoint["port"], endpoint["best"]["address"]) == ("nowhere.invalid", port, "127.0.0.1")
    assert (result["method"]["samples"], result["method"]["mode"]) == (20, "adaptive")


def test_an_endpoint_that_does_not_answer_is_told(command: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        done = run(command, "--endpoint", f"closed=localhost:{held.getsockname()[1]}", "--samples", "20")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split() == [
        "closed",
        "127.0.0.1",
        "0",
        "3",
        "dropped",
        "by",
        "errors",
        *"------",
    ]


def test_a_host_without_addresses_is_told(command: Path) -> None:
    done = run(command, "--endpoint", "nowhere=a..b", "--samples", "20")
    assert done.returncode == 1
    _head, *lines = done.stdout.splitlines()
    assert lines[0] == "nowhere: no address to measure."
    assert lines[1].endswith("(EAI_NONAME).")
    assert lines[2:] == ["Measured 0 handshakes with 0 addresses of 1 endpoint."]


def test_it_tells_what_is_no_tls_service(command: Path, port: int) -> None:
    done = run(command, "--endpoint", f"mine=localhost:{port}", "--samples", "20", "--verify-tls")
    assert "mine: 127.0.0.1 is no TLS service of localhost: " in done.stdout


def test_it_has_all_of_the_code_that_it_imports() -> None:
    parts = yaml.safe_load((ROOT / "roles/probe/vars/main.yml").read_text(encoding="utf-8"))["__probe_parts"]
    imported = imported_parts(ROOT / "roles/probe/files/handshake_probe.py")
    reached: set[str] = set()
    while imported - reached:
        part = min(imported - reached)
        reached.add(part)
        imported |= imported_parts(part_file(part))
    assert sorted(parts) == sorted(reached)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--endpoint"),
        (["--endpoint", "=host"], "'=host'"),
        (["--endpoint", "host:https"], "'https' is not a port"),
        (["--endpoint", "host:0"], "endpoints[0].port: 0"),
        (["--endpoint", "host", "--samples", "0"], "samples: 0"),
        (["--endpoint", "host", "--median-limit-us", "-1"], "median_limit_us: -1.0"),
        (["--endpoint", "host", "--best-limit-us", "nan"], "best_limit_us: nan"),
        (["--endpoint", "host", "--primary-endpoint", "other"], "primary_endpoint: 'other'"),
        (["--endpoint", "host", "--connect", "guess"], "--connect"),
        (["--endpoint", "host@::1"], "'::1'"),
        (["--endpoint", "host", "--cpu", "99999"], "cpu: 99999"),
    ],
)
def test_a_wrong_argument_is_named(command: Path, arguments: list[str], told: str) -> None:
    done = run(command, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def discovered(folder: Path, port: int) -> str:
    """A discoverer's document that knows two addresses, of which one answers."""
    known = named(EndpointBook("nowhere.invalid", port), ["127.0.0.1", "127.0.0.2"], 1_700_000_000)
    book = {"found": checked(known, {"127.0.0.1": ALIVE, "127.0.0.2": REFUSED}, 1_700_000_000)}
    path = folder / "addresses.json"
    path.write_text(json.dumps(document_from(book, 1_700_000_000)), encoding="utf-8")
    return str(path)


def test_it_measures_what_a_discoverer_knows(command: Path, port: int, tmp_path: Path) -> None:
    document = discovered(tmp_path, port)
    for asked in ([], ["--endpoint", f"found=nowhere.invalid:{port}"]):
        done = run(command, *asked, "--addresses-from", document, "--samples", "20", "--json")
        (endpoint,) = json.loads(done.stdout)["endpoints"]
        assert endpoint["name"] == "found"
        assert [address["address"] for address in endpoint["addresses"]] == ["127.0.0.1"]


def test_a_document_that_is_none_is_named(command: Path, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}", encoding="utf-8")
    for path in (tmp_path / "none.json", tmp_path / "missing.json"):
        done = run(command, "--addresses-from", str(path))
        assert done.returncode == 2
        assert f"--addresses-from: '{path}'" in done.stderr


def test_a_second_run_of_the_role_changes_nothing(command: Path) -> None:
    assert "changed=0" in play(command.parent)


def test_check_mode_writes_nothing_and_absent_removes(command: Path, tmp_path: Path) -> None:
    assert "changed=1" in play(tmp_path, "--check")
    assert not (tmp_path / "handshake-probe").exists()
    shutil.copy(command, tmp_path)
    assert "changed=1" in play(tmp_path, probe_state="absent")
    assert not (tmp_path / "handshake-probe").exists()
