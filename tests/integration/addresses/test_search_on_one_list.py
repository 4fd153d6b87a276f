# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search whose DNS shows 8 of 56 addresses at a time: two slots, and one list of addresses for both."""

from __future__ import annotations

import json
import subprocess
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import usable
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import book_from_text
from support.lab import ROOT, Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SEARCH, SLOTS, ROUNDS = "first", 2, 2
Addresses = dict[str, list[str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which two slots have searched for two rounds each, with criteria that no rack meets."""
    folder = tmp_path_factory.mktemp("one-list")
    # Which addresses are asked is judged here, and no figure: a few handshakes with each do, and nothing is confirmed.
    few = {"probe_samples": 5, "probe_warmup": 1, "probe_timeout_ms": 20, "search_confirm": False}
    with lab(folder, lab_seed=4, lab_scenario="hidden_pool,dead_addresses", **few) as mine:
        mine.play(
            "search",
            search_id=SEARCH,
            search_slot_count=SLOTS,
            search_max_rounds=ROUNDS,
            search_criteria={"median_us": 1, "best_us": 1},
        )
        yield mine


def frozen(searched: Lab) -> dict[str, t.Any]:
    path = searched.reports / f"addresses_{SEARCH}.json"
    return t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))


def listed(searched: Lab) -> Addresses:
    return {each["name"]: each["addresses"] for each in frozen(searched)["endpoints"]}


def probed(round_: dict[str, t.Any]) -> Addresses:
    return {each["name"]: [one["address"] for one in each["addresses"]] for each in round_["probe"]["endpoints"]}


def test_every_round_after_the_first_ones_is_on_the_list(searched: Lab) -> None:
    later = [probed(round_) for round_ in searched.rounds() if round_["round_number"] > 1]
    assert later == [listed(searched)] * (SLOTS * (ROUNDS - 1))


def test_the_list_is_what_the_first_rounds_found(searched: Lab) -> None:
    first = [probed(round_) for round_ in searched.rounds() if round_["round_number"] == 1]
    assert len(first) == SLOTS
    for name, addresses in listed(searched).items():
        assert len(addresses) > 8
        assert set(addresses) == {address for found in first for address in found[name]}


def test_the_file_says_since_when_and_why(searched: Lab) -> None:
    document = frozen(searched)
    assert {each["reason"] for each in document["endpoints"]} == {"first"}
    assert document["frozen_at"] == max(each["frozen_at"] for each in document["endpoints"])
    assert document["rule"]["refresh_hours"] is None
    assert (document["refused_rounds"], document["earlier"]) == (0, [])
    silent = {address for each in document["endpoints"] for address in each["silent_rounds"]}
    dead = {
        address["address"]
        for round_ in searched.rounds()
        for endpoint in round_["probe"]["endpoints"]
        for address in endpoint["addresses"]
        if address["samples"] == 0
    }
    assert silent == dead
    assert len(dead) > 0


# -- a survivor finds the rest, and the next search is given it --------------------------------------------

DISCOVER = """
- hosts: survivors
  become: true
  gather_facts: false
  tasks:
    - name: Put the discoverer there
      ansible.builtin.include_role:
        name: lowlatency.ec2.probe
    - name: Make a pass
      ansible.builtin.command: >-
        address-discoverer --settings {{ probe_discover_settings_path | default('/etc/address-discoverer.json') }}
        --document /root/addresses.json
      changed_when: true
    - name: Fetch what it found
      ansible.builtin.fetch:
        src: /root/addresses.json
        dest: "{{ playbook_dir }}/"
        flat: true
"""


def discover(searched: Lab, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Put the discoverer on the survivor, run it and fetch its document."""
    playbook = searched.folder / "discover.yml"
    playbook.write_text(DISCOVER, encoding="utf-8")
    # A quarter of the addresses is dead, and each of these is waited for.
    quick = {"probe_discover_max_rate": 100, "probe_discover_timeout_ms": 100}
    command = searched.command("tune_os", probe_discover=True, **quick, **variables)
    command[command.index(str(ROOT / "playbooks/tune_os.yml"))] = str(playbook)
    # The inventory asks the region of this lab, which is not the one that a person has.
    environment = {**searched.environment, "LAB_INDEX": str(searched.index)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=searched.folder, env=environment, check=False
    )


def test_a_survivor_without_systemd_is_told_in_a_sentence(searched: Lab) -> None:
    done = discover(searched)
    assert done.returncode != 0
    assert "probe_discover_timer: true needs systemd, which does not run on" in done.stdout


def test_what_a_survivor_discovered_is_the_next_searchs_list(searched: Lab) -> None:
    done = discover(searched, probe_discover_timer=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = searched.folder / "addresses.json"
    book = book_from_text(document.read_text(encoding="utf-8"))
    found = {name: usable(known) for name, known in book.items()}
    assert {name: len(known.addresses) for name, known in book.items()} == dict.fromkeys(found, 56)
    assert sum(map(len, found.values())) < 3 * 56
    searched.play(
        "search",
        search_id="second",
        search_slot_count=1,
        search_max_rounds=1,
        search_criteria={"median_us": 1, "best_us": 1},
        search_addresses_from=str(document),
    )
    (last,) = [round_ for round_ in searched.rounds() if round_["search_id"] == "second"]
    assert probed(last) == found
    text = (searched.reports / "addresses_second.json").read_text(encoding="utf-8")
    assert {each["reason"] for each in json.loads(text)["endpoints"]} == {"document"}
