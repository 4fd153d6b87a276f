# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly timer of the role cleanup, on this machine and with a systemctl that only takes notes."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from support.plays import run_playbook

ROOT = Path(__file__).resolve().parents[4]
ROLE = ROOT / "roles/cleanup"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: lowlatency.ec2.cleanup
        tasks_from: timer
"""
#: Answers as the real one where a module asks, keeps what is enabled and active, and notes what it was told.
SYSTEMCTL = """#!/bin/sh
cd {folder} || exit 1
case "$1" in
    show) echo "LoadState=loaded"; echo "ActiveState=$(cat active 2>/dev/null || echo inactive)" ;;
    is-enabled) test -e enabled && echo enabled || {{ echo disabled; exit 1; }} ;;
    enable) touch enabled; echo "$@" >>told ;;
    disable) rm -f enabled; echo "$@" >>told ;;
    start|restart) echo active >active; echo "$@" >>told ;;
    stop) rm -f active; echo "$@" >>told ;;
    daemon-reload) echo "$@" >>told ;;
    list-unit-files) echo "$2 enabled enabled" ;;
esac
"""
NAMES = ("lowlatency-cleanup.service", "lowlatency-cleanup.timer", "lowlatency-cleanup.json")


class Controller:
    """A folder that stands for the controller's file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "play.yml").write_text(PLAY, encoding="utf-8")
        programs = folder / "bin"
        programs.mkdir()
        (folder / "systemd").mkdir()
        for name, text in (
            ("systemctl", SYSTEMCTL.format(folder=folder)),
            ("systemd-analyze", '#!/bin/sh\ntest "$2" != nonsense\n'),
            ("ansible-playbook", "#!/bin/sh\n"),
        ):
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)

    def play(self, *options: str, fails: bool = False, **variables: t.Any) -> str:
        """Apply the role's entry point; all that it writes lies in the folder."""
        given = {
            "cleanup_timer_command": str(self.folder / "bin/ansible-playbook"),
            "cleanup_timer_inventories": ["localhost,"],
            "cleanup_timer_user": getpass.getuser(),
            "cleanup_reports_dir": "/srv/reports",
            "__cleanup_timer_service": str(self.folder / NAMES[0]),
            "__cleanup_timer_timer": str(self.folder / NAMES[1]),
            "__cleanup_timer_settings": str(self.folder / NAMES[2]),
            "__cleanup_timer_folder": str(self.folder / "state"),
            "__cleanup_systemd_mark": str(self.folder / "systemd"),
            **variables,
        }
        path = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = run_playbook(self.folder, "play.yml", given, *options, environment=path)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    def told(self) -> list[str]:
        """What systemctl was told to change since this was asked last."""
        path = self.folder / "told"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def there(self) -> set[str]:
        return {name for name in NAMES if (self.folder / name).exists()}

    def service(self) -> str:
        return (self.folder / NAMES[0]).read_text(encoding="utf-8")


def changed(output: str) -> int:
    (count,) = re.findall(r"changed=(\d+)", output)
    return int(count)


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_it_is_put_there_once_and_taken_away_without_a_trace(controller: Controller) -> None:
    assert changed(controller.play("--check", "--diff")) >= 2
    assert controller.there() == set()
    assert controller.told() == []

    assert changed(controller.play()) >= 3
    assert controller.there() == set(NAMES)
    assert {line.split()[0] for line in controller.told()} == {"daemon-reload", "enable", "start"}
    for options in ((), ("--check",)):
        assert changed(controller.play(*options)) == 0
        assert controller.told() == []

    assert changed(controller.play(cleanup_timer_on_calendar="*-*-* 04:00:00")) >= 1
    assert "restart lowlatency-cleanup.timer" in "\n".join(controller.told()).replace("'", "")

    assert changed(controller.play("--check", cleanup_timer_state="absent")) >= 1
    assert controller.there() == set(NAMES)
    assert changed(controller.play(cleanup_timer_state="absent")) >= 2
    assert controller.there() == set()
    assert {line.split()[0] for line in controller.told()} == {"daemon-reload", "disable", "stop"}
    assert changed(controller.play(cleanup_timer_state="absent")) == 0
    assert controller.told() == []


ODD = '100% of "$HOME" \\ it'


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A timer with variables of its own and words that a unit has to quote."""
    controller = Controller(tmp_path_factory.mktemp("odd"))
    folder = controller.folder / "an inventory"
    folder.mkdir()
    controller.play(
        cleanup_all_searches=False,
        cleanup_search_id="tokyo",
        cleanup_timer_environment={"ODD": ODD, "AWS_PROFILE": "day"},
        cleanup_timer_extra_vars={"aws_profile": "night", "cleanup_search_id": "osaka"},
        cleanup_timer_inventories=[str(folder), "localhost,"],
        cleanup_timer_playbook=ODD,
        cleanup_timer_write_paths=["/home/me/.aws/sso/cache"],
    )
    return controller


def test_its_variables_are_for_its_user_alone(odd: Controller) -> None:
    path = odd.folder / NAMES[2]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.owner() == getpass.getuser()
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "aws_profile": "night",
        "cleanup_all_searches": False,
        "cleanup_champion_store": None,
        "cleanup_delay_s": 10,
        "cleanup_reports_dir": "/srv/reports",
        "cleanup_retries": 60,
        "cleanup_search_id": "osaka",
    }
    assert "night" not in odd.service()


def test_words_reach_the_program_as_they_are(odd: Controller) -> None:
    lines = odd.service().splitlines()
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert f'-i "{odd.folder}/an inventory" -i "localhost," -e "@{odd.folder}/{NAMES[2]}"' in start
    assert start.endswith(r'"100%% of \"$$HOME\" \\ it"')
    assert r'Environment="ODD=100%% of \"$HOME\" \\ it"' in lines
    assert 'Environment="AWS_PROFILE=day"' in lines
    assert 'ReadWritePaths="-/home/me/.aws/sso/cache"' in lines
    # A reaper that does not see a controller of another user takes it for one that has ended.
    assert not [line for line in lines if re.match("ProtectProc|ProcSubset|PrivatePIDs|DynamicUser", line)]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"__cleanup_systemd_mark": "/nowhere"}, "cleanup_timer_state: present needs systemd, which does not run on"),
        ({"cleanup_timer_command": "/nowhere/ansible"}, "cleanup_timer_command: /nowhere/ansible is no program"),
        ({"cleanup_timer_user": "nobody-of-this-name"}, "there is no user 'nobody-of-this-name' on localhost"),
        ({"cleanup_timer_user": ""}, "cleanup_timer_user: there is no user '' on localhost"),
        ({"cleanup_timer_inventories": []}, "cleanup_timer_inventories: [] names no inventory"),
        ({"cleanup_timer_on_calendar": "nonsense"}, "cleanup_timer_on_calendar: 'nonsense' is no time of systemd's"),
        ({"cleanup_timer_state": "there"}, "cleanup_timer_state"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_written(
    controller: Controller, variables: dict[str, t.Any], told: str
) -> None:
    output = controller.play(fails=True, **variables)
    assert told in re.sub(r"\s+", " ", output)
    assert controller.there() == set()
    assert controller.told() == []


def test_it_goes_from_a_machine_on_which_systemd_does_not_run(controller: Controller) -> None:
    controller.play()
    controller.told()
    controller.play(cleanup_timer_state="absent", __cleanup_systemd_mark="/nowhere")
    assert controller.there() == set()
    assert controller.told() == []


def test_every_variable_of_the_timer_is_on_the_page() -> None:
    page = (ROOT / "docs/cleanup.md").read_text(encoding="utf-8")
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    assert [name for name in defaults if f"`{name}`" not in page] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line_of_the_units(controller: Controller) -> None:
    controller.play(
        cleanup_timer_environment={"ODD": '100% of "$HOME"'},
        cleanup_timer_environment_file="/dev/null",
        cleanup_timer_write_paths=["/tmp/of a user"],
        __cleanup_timer_folder="/var/lib/lowlatency-cleanup",
    )
    units = [controller.folder / name for name in NAMES[:2]]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if "lowlatency-cleanup" in line] == []
