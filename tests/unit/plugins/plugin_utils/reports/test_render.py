# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person reads of a round and of a champion."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import (
    champion_lines,
    log_lines,
    microseconds,
    reap_line,
    round_lines,
    stop_text,
    to_ascii,
)
from support.rounds import adaptive_probe, champion, confirm, limits, rack_probe, round_result, silent_probe

FAILURE = {"step": "launch", "code": "InsufficientInstanceCapacity", "message": "no candidate: no_capacity"}
UNMET = {"median_us": 1, "best_us": 1}


def test_a_new_champion_in_the_manner_of_the_first_search() -> None:
    made = round_result(best_us=125.3, criteria=UNMET, champion_before=champion())
    assert [line.text for line in round_lines(made)] == [
        "[2025-07-22T05:35:26+00:00] i-014fc6ce2eed063b7  c8g.24xlarge  slot-1, round 1 of 8"
        "  dc-machine-cpg-1753162526-63b7",
        "  fapi-mm: median=165.30µs (198.19.1.1), best=145.30µs (198.19.1.1) of 500",
        "  ws-fapi-mm: median=155.30µs (198.19.2.1), best=135.30µs (198.19.2.1) of 500",
        "  fstream-mm: median=145.30µs (198.19.3.1), best=125.30µs (198.19.3.1) of 500",
        "  Passed: False. Champion: best 125.30µs of fstream-mm (198.19.3.1, 500 samples) beats 142.50µs of i-0abc123",
        "  New fstream-mm champion! 125.30µs (198.19.3.1)",
        "    Replacing old champion i-0abc123 (142.50µs of 500)",
    ]


def test_a_rejected_round_tells_who_sits() -> None:
    lines = round_lines(round_result(criteria=UNMET, champion_before=champion()))
    assert lines[-1].text == "  Champion: i-0abc123 (142.50µs of 500)"
    assert "Rejected: best 150.00µs" in lines[-2].text


def test_what_aws_has_scheduled_is_told_with_the_first_round_and_with_the_last() -> None:
    event = {"instance_id": "i-0abc123", "code": "system-reboot", "not_before": "2025-08-05T00:00:00+00:00"}
    told = "  AWS has scheduled system-reboot for i-0abc123, not before 2025-08-05T00:00:00+00:00"

    def lines(number: int, best_us: float = 150.0) -> list[str]:
        made = round_result(best_us=best_us, round_limits=limits(round_number=number))
        return [line.text for line in round_lines({**made, "round_number": number, "scheduled_events": [event]})]

    assert told in lines(1)
    assert told not in lines(2)
    assert told in lines(2, best_us=101)


def test_an_anchor_passes_and_ends_the_search() -> None:
    lines = round_lines(round_result(best_us=101))
    assert lines[-1].text == "  Search over: an anchor was found"
    assert [line.style for line in lines if "Passed: True. Anchor:" in line.text] == ["anchor"]


def test_a_qualified_candidate_passes() -> None:
    made = round_result(best_us=101, champion_before=champion(90), round_limits=limits(qualified_wanted=2))
    assert any("Passed: True. Qualified:" in line.text for line in round_lines(made))


def test_with_verbosity_both_metrics_are_shown() -> None:
    texts = [line.text for line in round_lines(round_result(best_us=150), verbosity=1)]
    assert "  fstream-mm: median=170.00µs (198.19.3.1), best=150.00µs (198.19.3.1) of 500 [wall]" in texts
    assert "  fstream-mm: median=153.00µs (198.19.3.1), best=133.00µs (198.19.3.1) of 500 [wire]" in texts


def test_a_wire_search_shows_wire_and_says_so() -> None:
    texts = [line.text for line in round_lines(round_result(round_limits=limits(metric="wire")))]
    assert "  fstream-mm: median=153.00µs (198.19.3.1), best=133.00µs (198.19.3.1) of 500 [wire]" in texts
    assert not any("[wall]" in text for text in texts)


def test_no_capacity_names_code_and_types_tried() -> None:
    tried = [{"instance_type": name, "code": FAILURE["code"], "message": "x"} for name in ("c7i.large", "c8g.large")]
    made = round_result("no_capacity", failure=FAILURE, launch_attempts=tried)
    assert [line.text for line in round_lines(made)][:4] == [
        "[2025-07-22T05:35:26+00:00] slot-1, round 1 of 8",
        "  c7i.large: InsufficientInstanceCapacity",
        "  c8g.large: InsufficientInstanceCapacity",
        "  No capacity: launch: InsufficientInstanceCapacity: no candidate: no_capacity",
    ]


@pytest.mark.parametrize("attempts", [3, None, []])
def test_a_count_of_ansibles_tries_is_no_list_of_types(attempts: object) -> None:
    made = round_result("no_capacity", failure=FAILURE)
    del made["launch_attempts"]
    assert len(round_lines({**made, "attempts": attempts})) == 3


def test_a_failed_round_and_one_that_tried_nothing() -> None:
    failed = [line.text for line in round_lines(round_result("failed", failure=FAILURE))]
    assert "  Failed: launch: InsufficientInstanceCapacity: no candidate: no_capacity" in failed
    idle = [line.text for line in round_lines(round_result("none", round_limits=limits(check_mode=True)))]
    assert idle[1:] == [
        "  Not tried: nothing was launched in this round",
        "  Champion: none yet",
        "  Search over: check mode launches nothing",
    ]


def test_a_silent_probe_is_a_failure_with_dashes() -> None:
    texts = [line.text for line in round_lines(round_result(probe=silent_probe()))]
    assert "  fstream-mm: median=-, best=-" in texts
    assert any(text.startswith("  Failed: no answer from any of 24 addresses") for text in texts)


def test_figures_and_stop_reasons_in_words() -> None:
    assert (microseconds(1), microseconds(None)) == ("1.00µs", "-")
    assert (stop_text("rounds"), stop_text("unheard of")) == ("all rounds were used", "unheard of")


def test_costs_are_shown_where_prices_are_known() -> None:
    asked = limits(spent_usd=1.25, max_usd=5)
    texts = [line.text for line in round_lines(round_result(round_limits=asked, cost_usd=0.25))]
    assert "  Cost: 0.2500 USD, 1.50 USD of 5.00 USD in all" in texts
    idle = [line.text for line in round_lines(round_result("none", round_limits=limits(spent_usd=1.25)))]
    assert "  Cost: 1.25 USD in all" in idle
    assert not any("Cost" in line.text for line in round_lines(round_result()))


def test_ascii_keeps_the_meaning() -> None:
    assert to_ascii("1.00µs … ≤ ü") == "1.00us ... <= ?"
    for line in round_lines(round_result(probe=rack_probe(101))):
        to_ascii(line.text).encode("ascii")


def test_the_champion_tells_where_to_connect() -> None:
    lines = champion_lines({"champion": champion(125.3, "i-def456")})
    assert lines[:4] == [
        "Current fstream-mm champion: i-def456 (c8g.24xlarge)",
        "  Best latency: 125.30µs (198.19.3.1, wall time, 500 samples)",
        "  Placement Group: dc-machine-cpg-1753162526-f456",
        "  Status: PROTECTED - Will persist after the search",
    ]
    assert lines[4].startswith("  For fapi-mm.binance.com use 198.19.1.1 (")


def test_what_ended_early_is_shown_with_its_count() -> None:
    made = round_result(probe=adaptive_probe(150), criteria=UNMET, champion_before=champion())
    texts = [line.text for line in round_lines(made)]
    assert "  fstream-mm: median=170.00µs (198.19.3.1), best=150.00µs (198.19.3.1) of 60, ended early" in texts
    told = "\n".join(log_lines(made))
    assert "198.19.3.1      60 samples; wall best=150.00µs" in told
    assert "errors: none; ended beaten by champion" in told


def test_a_comparison_in_pairs_is_in_the_log_figure_by_figure() -> None:
    made = round_result(
        best_us=125.3,
        criteria=UNMET,
        champion_before=champion(),
        round_limits=limits(confirm=True),
        confirm=confirm([-10.0] * 6 + [None, -10.0]),
    )
    told = "\n".join(log_lines(made))
    pairs = ", ".join(["150.00µs/140.00µs"] * 6 + ["150.00µs/-", "150.00µs/140.00µs"])
    assert f"  Compared in turn with i-0abc123 (champion/newcomer, 100 samples each): {pairs}\n" in told
    assert "Compared" not in "\n".join(log_lines(round_result()))


def test_a_champion_by_the_quantile_shows_it_and_says_so() -> None:
    made = round_result(criteria=UNMET, round_limits=limits(statistic="p0_1"))
    texts = [line.text for line in round_lines(made)]
    assert "  New fstream-mm champion! 150.40µs, 0.1 % quantile (198.19.3.1)" in texts
    status = champion_lines({"champion": made["champion"]})
    assert status[1] == "  Best latency: 150.40µs, 0.1 % quantile (198.19.3.1, wall time, 500 samples)"


def test_a_pass_of_the_reaper_says_what_it_waits_for() -> None:
    result = {
        "reaped": [{"id": "i-1", "kind": "instance"}],
        "pending": [{"id": "group-1", "kind": "placement_group", "why": "i-1 is shutting-down"}],
    }
    assert reap_line(result) == "  Cleaning up: removed i-1; waiting for group-1 (i-1 is shutting-down)"
    assert reap_line({"reaped": [], "pending": []}) == "  Cleaning up: nothing is left"
