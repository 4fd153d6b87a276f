# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback under a real C(ansible-playbook), whose action returns rounds that were made beforehand.

The collection that the playbook sees is the real one but for the action, which hands out one round for each try.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.rounds import champion, limits, round_result

ROOT = Path(__file__).parents[4]
UNMET = {"median_us": 1, "best_us": 1}
SHORTAGE = {"step": "launch", "code": "InsufficientInstanceCapacity", "message": "no candidate"}

ACTION = """
import json
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

TRIES = []


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        with open(self._task.args["rounds"]) as file:
            rounds = json.load(file)
        if len(TRIES) == len(rounds):
            raise AnsibleActionFail("search_key_path: '/nowhere' is no file")
        TRIES.append(1)
        return {**super().run(tmp, task_vars), **rounds[len(TRIES) - 1]}
"""

PLAYBOOK = """
- name: Search
  hosts: all
  gather_facts: false
  vars: {criteria: {median_us: 1, best_us: 1}}
  tasks:
    - name: Try candidates until the search is over
      lowlatency.ec2.search_round:
        rounds: "{{ file }}"
      register: round
      until: (round | lowlatency.ec2.champion_verdict(criteria)).search_over
      retries: "{{ tries | int }}"
      delay: 0
      no_log: "{{ hidden | default(false) | bool }}"

    - name: Something else
      ansible.builtin.debug:
        msg: "{{ round.verdict.stop_reason }}"
      register: other
      until: (other.attempts | default(1)) == 2
      retries: 3
      delay: 0
"""


def numbered(number: int, outcome: str = "measured", **more: t.Any) -> dict[str, t.Any]:
    return round_result(outcome, criteria=UNMET, round_limits=limits(round_number=number, max_rounds=3), **more)


ROUNDS = [
    numbered(1),
    numbered(2, "no_capacity", failure=SHORTAGE, champion_before=champion()),
    numbered(3, best_us=120, champion_before=champion()),
]


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    """Run the playbook over rounds; returns what was printed."""
    collection = tmp_path / "collections" / "ansible_collections" / "lowlatency" / "ec2"
    (collection / "plugins" / "action").mkdir(parents=True)
    (collection / "plugins" / "modules").mkdir()
    for name in ("callback", "filter", "module_utils", "plugin_utils"):
        (collection / "plugins" / name).symlink_to(ROOT / "plugins" / name)
    (collection / "plugins" / "action" / "search_round.py").write_text(ACTION)
    (collection / "plugins" / "modules" / "search_round.py").write_text("#!/usr/bin/python\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)

    def run(
        rounds: list[dict[str, t.Any]], *arguments: str, tries: int = 8, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "rounds.json").write_text(json.dumps(rounds))
        (tmp_path / "ansible.cfg").write_text("[defaults]\nstdout_callback = lowlatency.ec2.search_progress\n")
        settings = {
            **os.environ,
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            **environment,
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "slot-1,", "-c", "local", "play.yml"]
        variables = ["-e", f"file={tmp_path / 'rounds.json'}", "-e", f"tries={tries}"]
        return subprocess.run(
            [*command, *variables, *arguments],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_each_round_is_a_block_and_none_a_retry(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = play(ROUNDS)
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    assert told.count("TASK [Try candidates until the search is over]") == 1
    for number in (1, 2, 3):
        assert told.count(f"slot-1, round {number} of 3") == 1
    assert "  fstream-mm: median=170.00µs (198.19.3.1), best=150.00µs (198.19.3.1) of 500\n" in told
    assert "  No capacity: launch: InsufficientInstanceCapacity: no candidate\n" in told
    assert "  New fstream-mm champion! 120.00µs (198.19.3.1)\n" in told
    assert "  Search over: all rounds were used\n" in told
    assert "Callback dispatch" not in told + done.stderr
    # The other task of the play is shown as ever, retries included.
    assert told.count("FAILED - RETRYING") == 1 and "FAILED - RETRYING: [slot-1]: Something else" in told
    assert '"msg": "rounds"' in told
    assert "ok=2" in told


def test_what_no_round_can_mend_is_one_line(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = play([])
    assert done.returncode == 2
    assert "fatal: [slot-1]: search_key_path: '/nowhere' is no file\n" in done.stdout
    assert "Origin:" not in done.stdout + done.stderr


def test_the_message_goes_to_stderr_when_asked(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = play([], ANSIBLE_DISPLAY_FAILED_STDERR="1")
    assert "is no file" in done.stderr and "is no file" not in done.stdout


def test_a_round_that_claims_too_much_is_one_line_too(
    play: t.Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    forged = numbered(2, champion_before=champion())
    forged["verdict"] = {**forged["verdict"], "is_champion": True}
    done = play([ROUNDS[0], forged])
    assert done.returncode == 2
    fatal = [line for line in done.stdout.splitlines() if line.startswith("fatal:")]
    assert len(fatal) == 1 and "disagrees with its figures: is_champion is True, its figures say False" in fatal[0]


def test_retries_that_ran_out_show_the_last_round_and_say_so(
    play: t.Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = play(ROUNDS, tries=1)
    assert done.returncode == 2
    assert done.stdout.count("slot-1, round 2 of 3") == 1
    assert "fatal: [slot-1]: the search was not over when its retries ran out (1)\n" in done.stdout


def test_verbosity_adds_wire_times_and_then_everything(
    play: t.Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    plain, more, all_of_it = (play(ROUNDS, *flags).stdout for flags in ((), ("-v",), ("-vvv",)))
    assert "[wire]" not in plain and "best=133.00µs (198.19.3.1) of 500 [wire]\n" in more
    assert '"round_id": "search-1-r1"' not in more and '"round_id": "search-1-r1"' in all_of_it


def test_rounds_are_shown_where_ok_hosts_are_not(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = play(ROUNDS, ANSIBLE_DISPLAY_OK_HOSTS="0").stdout
    assert told.count("TASK [Try candidates until the search is over]") == 1
    assert "slot-1, round 3 of 3" in told


def test_output_without_utf_8_says_us(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = play(ROUNDS, PYTHONIOENCODING="ascii").stdout
    assert "  fstream-mm: median=170.00us (198.19.3.1), best=150.00us (198.19.3.1) of 500\n" in told


def test_hidden_rounds_stay_hidden(play: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = play([ROUNDS[2]], "-e", "hidden=true").stdout
    assert "i-014fc6ce2eed063b7" not in told and "fstream-mm" not in told
