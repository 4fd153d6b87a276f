# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Complete searches in labs: real instances, real ssh, real handshakes, and the lab's truth to hold them against."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import time
import typing as t

import pytest
from local_region.hosts.processes import ProcessId
from support.lab import BIN, ROOT, Lab, wait_for_candidate
from support.lab_under_test import wait_for
from support.shared_lab import SharedLab
from support.truth import champion_gap_us
from support.whole_run import descendants

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

#: Criteria that no rack meets, so that a search goes on to its last round.
NOTHING_MEETS = {"median_us": 1, "best_us": 1}
ROUNDS = 4
#: Seconds that end a wait for something that never comes, also where one core does all the work.
LONGEST_S = 300.0
#: Racks that differ by less than this are as good as each other.
TIE_US = 10.0


@pytest.fixture(scope="module")
def running_lab(lab_of_worker: SharedLab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return lab_of_worker.as_new(tmp_path_factory.mktemp("search"), probe_samples=300)


@pytest.fixture(scope="module")
def searched(running_lab: Lab) -> Lab:
    """A lab in which one slot has searched to its last round.

    Of the first four racks the second is nearer than the first, the third is not nearer, and the fourth is the nearest.
    """
    output = running_lab.play(
        "search", search_slot_count=1, search_max_rounds=ROUNDS, search_criteria=NOTHING_MEETS
    ).stdout
    (running_lab.folder / "search.out").write_text(output, encoding="utf-8")
    return running_lab


def test_the_champion_is_the_best_of_the_candidates(searched: Lab) -> None:
    state = searched.state()
    gap_us, judged = champion_gap_us(searched.rounds(), searched.truth(), state["champion"])
    assert judged == ROUNDS
    assert gap_us <= TIE_US
    stop_reasons = [round_["verdict"]["stop_reason"] for round_ in searched.rounds()]
    assert stop_reasons == [None] * (ROUNDS - 1) + ["rounds"]


def test_only_the_champion_is_left(searched: Lab) -> None:
    left = searched.instances()
    assert [each["instance_id"] for each in left] == [searched.state()["champion"]["instance_id"]]
    assert searched.state()["retiring"] == []


def test_a_person_sees_rounds_and_no_retries(searched: Lab) -> None:
    output = (searched.folder / "search.out").read_text(encoding="utf-8")
    assert "RETRYING" not in output
    for round_ in searched.rounds():
        assert round_["candidate"]["instance_id"] in output
    assert len(re.findall(r"fstream-mm: median=[\d.]+\S+ \([\d.]+\), best=[\d.]+\S+ \([\d.]+\)", output)) >= ROUNDS
    champion = searched.state()["champion"]
    assert f"associate-address --instance-id {champion['instance_id']}" in output


def test_results_are_written(searched: Lab) -> None:
    rows = []
    for path in searched.reports.glob("latency_*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    assert [row["instance_id"] for row in rows] == [each["candidate"]["instance_id"] for each in searched.rounds()]
    assert {row["passed"] for row in rows} == {"False"}
    assert all(float(row["best_best_us_fstream-mm"]) > 0 for row in rows)
    champions = "".join(path.read_text(encoding="utf-8") for path in searched.reports.glob("champion_log_*.txt"))
    assert champions.count("INITIAL_CHAMPION") == 1
    assert searched.state()["champion"]["instance_id"] in champions


def test_every_candidate_had_a_group_a_name_and_tags_of_its_own(searched: Lab) -> None:
    rounds = searched.rounds()
    groups = [each["candidate"]["placement_group"] for each in rounds]
    assert len(set(groups)) == len(groups) == ROUNDS
    assert all(re.fullmatch(r"dc-machine-cpg-\d{10}-slot-1-[0-9a-f]{12}", group) for group in groups)


def test_the_probe_counts_handshakes_and_says_how_each_address_ended(searched: Lab) -> None:
    rounds = searched.rounds()
    assert [len(round_["probe"]["endpoints"]) for round_ in rounds] == [3] * ROUNDS
    for round_ in rounds:
        for endpoint in round_["probe"]["endpoints"]:
            assert len(endpoint["addresses"]) == 8
            for address in endpoint["addresses"]:
                assert (address["samples"] == 300) == (address["ended"]["how"] == "full")
                assert 0 < address["samples"] <= 300
                assert address["wire"]["median_us"] <= address["wall"]["median_us"]
        # All in full would be 24 addresses of 300.
        assert round_["probe"]["handshakes"] < 24 * 300 / 2


def test_a_champion_has_all_samples_and_beat_the_one_before_in_turn(searched: Lab) -> None:
    replaced = [round_ for round_ in searched.rounds() if round_["champion_before"] and _wins(round_)]
    for round_ in replaced:
        found = round_["confirm"]
        assert found["champion"] == round_["champion_before"]["instance_id"]
        assert found["newcomer"] == round_["candidate"]["instance_id"]
        assert found["outcome"] == "measured", found["failure"]
        assert round_["verdict"]["is_champion"] == (found["high_us"] is not None and found["high_us"] < 0)
        assert [pair["first"] for pair in found["pairs"]] == ["champion", "newcomer"] * (len(found["pairs"]) // 2) + [
            "champion"
        ] * (len(found["pairs"]) % 2)
    assert replaced, "in this seed the second rack is nearer than the first, and the fourth than both"
    assert searched.state()["champion"]["samples"] == 300


def _wins(round_: dict[str, t.Any]) -> bool:
    """Whether a candidate's figures are better than those of the champion that sat."""
    rows = [each for each in round_["probe"]["endpoints"] if each["name"] == "fstream-mm"]
    full = [each["wall"]["best_us"] for each in rows[0]["addresses"] if each["samples"] == 300]
    return bool(full) and min(full) < round_["champion_before"]["best_us"]


def test_a_rejected_candidate_says_how_many_handshakes_told_so(searched: Lab) -> None:
    reasons = [round_["verdict"]["reason"] for round_ in searched.rounds()]
    assert len(reasons) == ROUNDS
    assert [reason for reason in reasons if not re.search(r"\b[\d,]+ (samples|handshakes)\b", reason)] == []


def test_cleanup_leaves_survivors_alone(searched: Lab) -> None:
    before = searched.instances()
    searched.play("cleanup")
    assert searched.instances() == before
    again = searched.play("cleanup").stdout
    assert re.search(r"localhost\s+: .*changed=0", again)


def test_teardown_refuses_while_a_survivor_lives(searched: Lab) -> None:
    told = searched.play("teardown", fails=True).stdout
    assert searched.state()["champion"]["instance_id"] in told


def test_a_second_run_goes_on_with_the_same_champion(searched: Lab) -> None:
    before = searched.state()["champion"]
    searched.play(
        "search", search_slot_count=2, search_max_rounds=2, search_criteria=NOTHING_MEETS, search_confirm=False
    )
    after = searched.state()["champion"]
    assert after["best_us"] <= before["best_us"]
    gap_us, judged = champion_gap_us(searched.rounds(), searched.truth(), after)
    assert judged == ROUNDS + 4
    assert gap_us <= TIE_US
    assert [each["instance_id"] for each in searched.instances()] == [after["instance_id"]]


def test_criteria_that_all_meet_end_the_search_with_an_anchor_and_free_its_address(running_lab: Lab) -> None:
    running_lab.play("setup", network_allocate_elastic_ip=True)
    easy: dict[str, t.Any] = {
        "search_connect": "eip",
        "search_id": "easy",
        "search_slot_count": 1,
        "search_criteria": {"median_us": 5000},
        "network_allocate_elastic_ip": True,
    }
    running_lab.play("search", **easy)
    last = running_lab.rounds()[-1]
    assert last["verdict"]["kind"] == "anchor"
    assert last["verdict"]["stop_reason"] == "anchor"
    addresses = running_lab.client("ec2").describe_addresses()["Addresses"]
    assert len(addresses) == 1 and "AssociationId" not in addresses[0]
    count = len(running_lab.rounds())
    again = running_lab.play("search", **easy)
    assert len(running_lab.rounds()) == count, again.stdout


#: Refused by the role's assertions, the round's options, the file system and the lab. What else each of these refuses,
#: and in what words, is tested in process: test_round_options.py, test_argument_specs.py, test_settings.py.
REFUSED = [
    ({"search_slot_count": 6}, ["--forks", "5"], "search_slot_count: 6"),
    ({"search_accept_cost": False}, [], "search_accept_cost"),
    ({"search_primary_endpoint": "nowhere"}, [], "search_primary_endpoint: 'nowhere'"),
    ({"search_reports_dir": "/proc/nowhere"}, [], "/proc/nowhere"),
    ({"lab_scenario": "nothing_such"}, [], "lab_scenario"),
]
REFUSED_IN_PROCESS_TOO = [
    ({"search_criteria": {"median_us": -1}}, [], "search_criteria.median_us"),
    ({"search_criteria": {"median": 100}}, [], "search_criteria.median"),
    ({"search_instance_types": []}, [], "search_instance_types"),
    ({"search_instance_types": ["t3.micro"]}, [], "t3.micro"),
    ({"network_key_path": "/nonexistent.pem"}, [], "/nonexistent.pem"),
]


@pytest.mark.parametrize(
    ("variables", "options", "told"),
    [*REFUSED, *(pytest.param(*case, marks=pytest.mark.full) for case in REFUSED_IN_PROCESS_TOO)],
)
def test_bad_input_is_refused_before_anything_is_launched(
    running_lab: Lab, variables: dict[str, object], options: list[str], told: str
) -> None:
    playbook = "lab" if "lab_scenario" in variables else "search"
    before = len([call for call in running_lab.calls() if call["action"] == "RunInstances" and not call["code"]])
    done = running_lab.play(playbook, *options, fails=True, **variables)
    lines = [line for line in done.stdout.splitlines() if told in line]
    assert lines, done.stdout[-3000:]
    after = len([call for call in running_lab.calls() if call["action"] == "RunInstances" and not call["code"]])
    assert after == before


def test_check_mode_launches_nothing(running_lab: Lab) -> None:
    before = len(running_lab.calls())
    running_lab.play("search", "--check", search_id="checked")
    assert [call["action"] for call in running_lab.calls()[before:] if call["write"]] == []


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.full)])
def test_a_dead_controller_calls_no_more_and_its_guardian_acts(running_lab: Lab, sign: signal.Signals) -> None:
    searching = {"search_id": f"killed-{sign.name}", "search_slot_count": 1, "search_criteria": NOTHING_MEETS}
    reports_before = set(running_lab.reports.glob("interrupted_*.json"))
    with running_lab.playing("search", **searching) as process:
        wait_for_candidate(running_lab.folder / "search.out", process)
        workers = [ProcessId.of(pid) for pid in descendants(process.pid)]
        killed_s = time.time()
        process.send_signal(sign)
        process.wait(30)
    new_reports = wait_for(
        "a guardian's report", lambda: set(running_lab.reports.glob("interrupted_*.json")) - reports_before, LONGEST_S
    )
    wait_for("the end of all that it started", lambda: not any(each and each.runs() for each in workers), LONGEST_S)
    # The probe of the candidate had just begun, and nothing else is changed before it ends.
    writes = [call for call in running_lab.calls() if call["write"] and call["at_s"] > killed_s]
    assert [call for call in writes if "lowlatency.ec2-guardian" not in call["user_agent"]] == []
    assert len(new_reports) == 1
    report = json.loads(new_reports.pop().read_text(encoding="utf-8"))
    assert report["found"], "the kill came too late to leave anything"
    kept = {entry["instance_id"] for entry in _survivors(running_lab)}
    assert {each["instance_id"] for each in running_lab.instances()} - kept == set()
    running_lab.play("search", search_max_rounds=1, search_confirm=False, **searching)
    kept = {entry["instance_id"] for entry in _survivors(running_lab)}
    assert {each["instance_id"] for each in running_lab.instances()} - kept == set()


def _survivors(mine: Lab) -> list[dict[str, str]]:
    if not (mine.reports / "champion_state.json").exists():
        return []
    state = mine.state()
    return [entry for entry in [state["champion"], state["anchor"], *state["qualified"]] if entry]


@pytest.mark.full
def test_teardown_removes_what_setup_made_when_told(running_lab: Lab) -> None:
    running_lab.play("cleanup", cleanup_all_searches=True)
    running_lab.play("teardown", teardown_survivors=True)
    assert running_lab.instances() == []


def test_playbooks_are_found_by_their_full_names(running_lab: Lab) -> None:
    command = [str(BIN / "ansible-playbook"), "lowlatency.ec2.lab", "-i", str(ROOT / "inventory/lab")]
    variables = {"lab_index": running_lab.index, "lab_state": "status"}
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)],
        capture_output=True,
        text=True,
        cwd=running_lab.folder,
        env=running_lab.environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
