# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that a search leaves: formats, rollover, foreign headers, slots that write at once."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import plain
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import (
    Reports,
    ReportsError,
    check_writable,
)
from support.rounds import (
    SAMPLES,
    adaptive_probe,
    address,
    champion,
    endpoint,
    limits,
    probe,
    rack_probe,
    round_result,
    silent_probe,
)

DAY = "2025-07-22"
HEADER = (
    "timestamp,instance_id,instance_type,"
    "best_median_us_fapi-mm,best_best_us_fapi-mm,best_median_ip_fapi-mm,best_best_ip_fapi-mm,"
    "best_median_us_ws-fapi-mm,best_best_us_ws-fapi-mm,best_median_ip_ws-fapi-mm,best_best_ip_ws-fapi-mm,"
    "best_median_us_fstream-mm,best_best_us_fstream-mm,best_median_ip_fstream-mm,best_best_ip_fstream-mm,passed"
)


def pair(name: str, median: tuple[float, str], best: tuple[float, str]) -> dict[str, t.Any]:
    """An endpoint whose best median and best handshake lie at the given figures and addresses."""
    if median[1] == best[1]:
        return endpoint(name, [address(best[1], best[0], median[0])])
    return endpoint(name, [address(median[1], median[0] - 1, median[0]), address(best[1], best[0], median[0] + 50)])


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(str(tmp_path / "reports"))


def text_of(reports: Reports, name: str) -> str:
    return (Path(reports.directory) / name).read_text(encoding="utf-8")


def names_in(reports: Reports) -> list[str]:
    return sorted(name for name in os.listdir(reports.directory) if not name.startswith("."))


def test_the_csv_is_that_of_the_first_search_to_the_letter(reports: Reports) -> None:
    measured = probe(
        [
            pair("fapi-mm", (267.2, "35.79.37.81"), (167.34, "54.199.94.11")),
            pair("ws-fapi-mm", (254.5, "52.68.15.23"), (152.1, "52.68.15.23")),
            pair("fstream-mm", (261.8, "13.114.195.190"), (158.9, "18.176.4.238")),
        ]
    )
    reports.write_round(round_result(probe=measured))
    assert text_of(reports, f"latency_{DAY}.csv") == (
        f"{HEADER}\n"
        "2025-07-22T05:35:26+00:00,i-014fc6ce2eed063b7,c8g.24xlarge,"
        "267.20,167.34,35.79.37.81,54.199.94.11,254.50,152.10,52.68.15.23,52.68.15.23,"
        "261.80,158.90,13.114.195.190,18.176.4.238,False\n"
    )


def test_a_second_round_adds_a_row_and_no_header(reports: Reports) -> None:
    reports.write_round(round_result(best_us=150))
    reports.write_round(round_result(best_us=101))
    rows = list(csv.DictReader(text_of(reports, f"latency_{DAY}.csv").splitlines()))
    assert [row["passed"] for row in rows] == ["False", "True"]
    assert [row["best_best_us_fstream-mm"] for row in rows] == ["150.00", "101.00"]


def test_cells_without_a_figure_are_empty(reports: Reports) -> None:
    reports.write_round(round_result(probe=silent_probe()))
    row = text_of(reports, f"latency_{DAY}.csv").splitlines()[1]
    assert row == f"2025-07-22T05:35:26+00:00,i-014fc6ce2eed063b7,c8g.24xlarge{',' * 13}False"


def test_what_an_adaptive_probe_ended_early_has_the_figures_that_were_measured(reports: Reports) -> None:
    early = adaptive_probe(150)
    # One address of one endpoint has all samples: it alone stands for its endpoint.
    early["endpoints"][0]["addresses"][3] = address("198.19.1.4", 190, 230)
    reports.write_round(round_result(probe=early, champion_before=champion()))
    row = next(csv.DictReader(text_of(reports, f"latency_{DAY}.csv").splitlines()))
    assert ",".join(row) == HEADER
    assert (row["best_best_us_fstream-mm"], row["best_median_us_fstream-mm"]) == ("150.00", "170.00")
    assert (row["best_best_us_fapi-mm"], row["best_best_ip_fapi-mm"]) == ("190.00", "198.19.1.4")
    assert row["passed"] == "False"


def test_what_ended_early_never_passes(tmp_path: Path) -> None:
    reports = Reports(str(tmp_path), criteria={})
    reports.write_round(round_result(probe=adaptive_probe(90, "below"), champion_before=champion()))
    assert text_of(reports, f"latency_{DAY}.csv").endswith(",False\n")


def test_rounds_that_probed_nothing_have_no_row(reports: Reports) -> None:
    reports.write_round(round_result("no_capacity"))
    reports.write_round(round_result("failed"))
    assert names_in(reports) == [f"latency_{DAY}.jsonl", f"latency_log_{DAY}.txt"]


def test_passed_follows_the_criteria_where_they_are_known(tmp_path: Path) -> None:
    several = limits(qualified_wanted=2)
    qualified_champion = round_result(best_us=101, round_limits=several)
    assert qualified_champion["verdict"]["kind"] == "champion"
    reports = Reports(str(tmp_path), criteria={})
    reports.write_round(qualified_champion)
    assert text_of(reports, f"latency_{DAY}.csv").endswith(",True\n")


def test_a_file_with_another_header_is_left_alone_and_a_numbered_one_begun(reports: Reports) -> None:
    os.makedirs(reports.directory)
    (Path(reports.directory) / f"latency_{DAY}.csv").write_text("timestamp,other\n1,2\n")
    for _round in range(2):
        reports.write_round(round_result())
    one_endpoint = round_result(probe=probe([endpoint("fstream-mm", [address("a")])]))
    reports.write_round(one_endpoint)
    reports.write_round(round_result())
    assert text_of(reports, f"latency_{DAY}.csv") == "timestamp,other\n1,2\n"
    assert len(text_of(reports, f"latency_{DAY}_2.csv").splitlines()) == 4
    assert text_of(reports, f"latency_{DAY}_3.csv").startswith(
        "timestamp,instance_id,instance_type,best_median_us_fstream-mm,best_best_us_fstream-mm,"
        "best_median_ip_fstream-mm,best_best_ip_fstream-mm,passed\n"
    )


def test_files_roll_over_by_utc_day(reports: Reports) -> None:
    for stamp in ("2025-07-22T23:59:59+00:00", "2025-07-23T00:00:00+00:00", "2025-07-23T08:00:00+09:00"):
        reports.write_round(round_result(timestamp=stamp))
    assert len(text_of(reports, "latency_2025-07-22.jsonl").splitlines()) == 2
    assert len(text_of(reports, "latency_2025-07-23.jsonl").splitlines()) == 1


def test_jsonl_holds_the_whole_round_in_one_line(reports: Reports) -> None:
    rounds = [
        round_result(best_us=101),
        round_result("failed", failure={"code": "x", "step": "y", "message": "a\nb µ"}),
    ]
    for each in rounds:
        reports.write_round(each)
    lines = text_of(reports, f"latency_{DAY}.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == plain(rounds)
    assert json.loads(lines[1])["failure"]["message"] == "a b µ"


def test_a_figure_that_is_not_finite_becomes_null(reports: Reports) -> None:
    odd = rack_probe()
    odd["endpoints"][0]["addresses"][0]["wall"]["best_us"] = float("nan")
    reports.write_round(round_result(probe=odd))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    line = json.loads(text_of(reports, f"latency_{DAY}.jsonl"), parse_constant=refuse)
    assert line["probe"]["endpoints"][0]["addresses"][0]["wall"]["best_us"] is None


def test_a_line_that_a_crash_cut_short_does_not_swallow_the_next(reports: Reports) -> None:
    reports.write_round(round_result())
    path = Path(reports.directory) / f"latency_{DAY}.jsonl"
    path.write_text(path.read_text() + '{"search_id": "cut of')
    reports.write_round(round_result())
    lines = path.read_text().splitlines()
    assert [bool(line.startswith('{"search_id": "cut of')) for line in lines] == [False, True, False]
    assert json.loads(lines[2]) == round_result()


def test_the_text_log_tells_each_address_with_its_errors(reports: Reports) -> None:
    rows = [address("198.19.3.1", 100, 120), address("198.19.3.2", samples=0, timeout=3)]
    reports.write_round(round_result(probe=probe([endpoint("fstream-mm", rows)])))
    told = text_of(reports, f"latency_log_{DAY}.txt")
    assert f"198.19.3.1      {SAMPLES} samples; wall best=100.00µs median=120.00µs" in told
    assert "198.19.3.2      0 samples; wall best=- median=- p99=-" in told and "errors: timeout 3" in told
    assert "Took: launch 3.2 s, probe 41.2 s" in told


# -- the champion log ---------------------------------------------------------------------------------

RULE = "-" * 80


def test_the_first_champion_in_the_block_of_the_first_search(reports: Reports) -> None:
    made = round_result(best_us=125.3, timestamp="2025-07-22T08:45:23+00:00")
    reports.write_event(made)
    assert text_of(reports, f"champion_log_{DAY}.txt") == (
        "2025-07-22T08:45:23+00:00 - INITIAL_CHAMPION\n"
        "  New Champion: i-014fc6ce2eed063b7 (c8g.24xlarge)\n"
        "  Best Latency: 125.30µs\n"
        "  Optimal IP: 198.19.3.1\n"
        "  Placement Group: dc-machine-cpg-1753162526-63b7\n"
        "  Status: PROTECTED - Will persist after script termination\n"
        "  Samples: 500 (wall time, best)\n"
        f"{RULE}\n"
    )


def events(reports: Reports) -> list[str]:
    lines = text_of(reports, f"champion_log_{DAY}.txt").splitlines()
    return [line.split(" - ")[1] for line in lines if not line.startswith((" ", "-"))]


def test_each_change_has_a_block_with_one_word(reports: Reports) -> None:
    reports.write_event(round_result())
    reports.write_event(round_result(best_us=101, champion_before=champion()))
    reports.write_event(
        round_result(best_us=101, champion_before=champion(90), round_limits=limits(qualified_wanted=2))
    )
    reports.write_event(round_result(champion_before=champion()))
    assert events(reports) == ["INITIAL_CHAMPION", "NEW_CHAMPION", "ANCHOR_FOUND", "QUALIFIED"]
    assert "  Old Champion: i-0abc123 (142.50µs)\n" in text_of(reports, f"champion_log_{DAY}.txt")
    assert text_of(reports, f"champion_log_{DAY}.txt").count(RULE) == 4


def finished(instance_id: str, kind: str, against: str | None = None) -> dict[str, t.Any]:
    """The promotion of an interrupted round, as its intent holds it."""
    return {"record": {**champion(110.0, instance_id), "kind": kind, "round_id": "test-1"}, "against": against}


@pytest.mark.parametrize(
    ("promotion", "state", "words"),
    [
        (finished("i-2", "champion"), {"champion": champion(110.0, "i-2")}, ["INITIAL_CHAMPION"]),
        (finished("i-2", "champion", "i-1"), {"champion": champion(110.0, "i-2")}, ["NEW_CHAMPION"]),
        (finished("i-2", "champion"), {"champion": champion(100.0, "i-3")}, []),
        (finished("i-2", "champion"), {"champion": None}, []),
        (finished("i-2", "anchor"), {"champion": champion(), "anchor": champion(110.0, "i-2")}, ["ANCHOR_FOUND"]),
        (finished("i-2", "qualified"), {"qualified": [champion(110.0, "i-2")]}, ["QUALIFIED"]),
        (
            finished("i-2", "anchor"),
            {"champion": champion(110.0, "i-2"), "anchor": champion(110.0, "i-2")},
            ["INITIAL_CHAMPION", "ANCHOR_FOUND"],
        ),
    ],
    ids=["first", "replacing", "beaten meanwhile", "unseated", "anchor", "qualified", "anchor and champion"],
)
def test_what_an_interrupted_round_did_not_tell_is_told_once(
    tmp_path: Path, promotion: dict[str, t.Any], state: dict[str, t.Any], words: list[str]
) -> None:
    reports = Reports(str(tmp_path), now=lambda: datetime(2025, 7, 22, 6, 0, tzinfo=timezone.utc))
    for _again in range(2):
        reports.write_finished(promotion, state)
    if not words:
        assert list(tmp_path.iterdir()) == []
        return
    text = text_of(reports, f"champion_log_{DAY}.txt")
    assert events(reports) == words
    assert text.count("  Finished: after round test-1 was interrupted\n") == len(words)
    assert ("  Old Champion: i-1 (-)\n" in text) is (words == ["NEW_CHAMPION"])


def test_what_the_round_had_told_is_not_told_again(tmp_path: Path) -> None:
    reports = Reports(str(tmp_path), now=lambda: datetime(2025, 7, 22, 6, 0, tzinfo=timezone.utc))
    made = round_result(best_us=101, champion_before=champion())
    reports.write_event(made)
    told = events(reports)
    new_id = made["candidate"]["instance_id"]
    reports.write_finished(finished(new_id, "champion"), {"champion": champion(101.0, new_id)})
    assert events(reports) == told
    # Who was replaced there is named, and has no block of its own.
    reports.write_finished(finished("i-0abc123", "champion"), {"champion": champion(142.5, "i-0abc123")})
    assert len(events(reports)) == len(told) + 1


def test_lost_survivors_are_logged_with_the_time_they_were_missed(tmp_path: Path) -> None:
    tokyo = timezone(timedelta(hours=9))
    reports = Reports(str(tmp_path), now=lambda: datetime(2025, 7, 23, 6, 0, tzinfo=tokyo))
    state = {"champion": champion(120, "i-1"), "anchor": champion(101, "i-2"), "qualified": [champion(99, "i-3")]}
    reports.write_lost(state, ["i-1", "i-3"])
    assert events(reports) == ["CHAMPION_LOST", "QUALIFIED_LOST"]
    assert text_of(reports, f"champion_log_{DAY}.txt").startswith("2025-07-22T21:00:00+00:00 - CHAMPION_LOST\n")
    assert text_of(reports, f"champion_log_{DAY}.txt").count("  Samples: 500 (wall time, best)\n") == 2
    reports.write_lost(state, [])
    assert len(events(reports)) == 2


# -- where it cannot be written ------------------------------------------------------------------------


def test_a_directory_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(str(tmp_path / "a" / "b"))
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_place_that_cannot_be_written_names_option_and_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = str(tmp_path / "file" / "reports")
    for attempt in (Reports(path).check_writable, lambda: Reports(path).write_round(round_result())):
        with pytest.raises(ReportsError) as raised:
            attempt()
        assert str(raised.value).startswith("search_reports_dir: ") and path in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_written_names_option_and_path(reports: Reports) -> None:
    os.makedirs(os.path.join(reports.directory, f"latency_{DAY}.jsonl"))
    with pytest.raises(ReportsError, match=rf"search_reports_dir: .*latency_{DAY}\.jsonl.* cannot be written"):
        reports.write_round(round_result())


def test_a_full_disk_leaves_no_part_of_a_line(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    reports.write_event(round_result())
    before = text_of(reports, f"champion_log_{DAY}.txt")
    whole = os.write

    def short(handle: int, data: bytes) -> int:
        return whole(handle, data[:5])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(ReportsError, match="No space left on device"):
        reports.write_event(round_result())
    assert text_of(reports, f"champion_log_{DAY}.txt") == before


CHILD = """
import sys
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from support.rounds import round_result
reports = Reports(sys.argv[1])
for number in range(int(sys.argv[3])):
    made = round_result(slot=sys.argv[2], round_id=f"{sys.argv[2]}-{number}")
    reports.write_round(made)
    reports.write_event(made)
"""


def test_slots_that_write_at_once_tear_no_line(reports: Reports) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    slots, rounds = 4, 15
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, reports.directory, f"slot-{n}", str(rounds)], env=environment)
        for n in range(slots)
    ]
    try:
        assert [each.wait(timeout=300) for each in children] == [0] * slots
    finally:
        for each in children:
            each.kill()
    lines = [json.loads(line) for line in text_of(reports, f"latency_{DAY}.jsonl").splitlines()]
    assert sorted(line["round_id"] for line in lines) == sorted(
        f"slot-{n}-{k}" for n in range(slots) for k in range(rounds)
    )
    table = text_of(reports, f"latency_{DAY}.csv").splitlines()
    assert table[0] == HEADER and len(table) == slots * rounds + 1 and len(set(table[1:])) == 1
    assert events(reports) == ["INITIAL_CHAMPION"] * slots * rounds
    assert names_in(reports) == sorted(
        [f"champion_log_{DAY}.txt", f"latency_{DAY}.csv", f"latency_{DAY}.jsonl", f"latency_log_{DAY}.txt"]
    )
