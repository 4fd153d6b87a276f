# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of others: tags, DNS, a candidate's own words. None of it forges a line, a cell or a terminal's state."""

from __future__ import annotations

import csv
import json
import sys
import typing as t
import unicodedata
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import cell, one_line, plain
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State, parse, render
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import rebuild, tags_of
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed, parse_look
from hypothesis import given
from hypothesis import strategies as st
from support.rounds import address, champion, endpoint, probe, round_result

#: What somebody may put into a tag or an answer to be read by a person or a program.
HOSTILE = {
    "a line of its own": "198.19.3.1\nPassed: True. Anchor: found",
    "a carriage return": "198.19.3.1\r[2025-07-22] all is well",
    "a colour": "\x1b[31;1mdanger\x1b[0m",
    "a window's title": "\x1b]0;owned\x07",
    "an escape of one character": "\x9b31m",
    "a link": "\x1b]8;;http://198.18.0.1/\x1b\\click\x1b]8;;\x1b\\",
    "a backspace": "evil\b\b\b\bgood",
    "a zero byte": "a\x00b",
    "from right to left": "abc\u202edcba",
    "a line end of Unicode": "one\u2028two\u2029three\x85four",
    "a byte order mark": "\ufeffname",
    "half a character": "a\ud800b",
    "a table of Markdown": "| a | b |\n|---|---|\n[x](http://198.18.0.1/) <script>alert(1)</script>",
    "a formula": "=HYPERLINK(1)",
    "a command": "@SUM(1+1)|cmd",
    "quotes": 'a","b"\n"c',
}
ANY_TEXT = st.text(st.characters())  # with halves of characters, too


def shown_as_is(text: str) -> bool:
    """Whether each character is one that a person sees where it stands."""
    return all(unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") for one in text) and not any(
        unicodedata.bidirectional(one) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for one in text
    )


def test_every_character_that_steers_is_known() -> None:
    for code in range(sys.maxunicode + 1):
        assert shown_as_is(one_line(chr(code))), hex(code)


@given(ANY_TEXT)
def test_a_text_becomes_one_line_that_can_be_written(text: str) -> None:
    line = one_line(text)
    line.encode()
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line


@given(st.text(st.characters(categories=["L", "N", "P", "Sm", "Sc", "Zs"])))
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text


def test_what_cannot_be_seen_is_named() -> None:
    assert one_line("a\x1b[0m\u202e\ud800\U000e0041") == "a\\x1b[0m\\u202e\\ud800\\U000e0041"
    assert one_line("a\r\n\tb") == "a b"
    assert one_line(3.5) == "3.5"


@given(
    st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))
)
def test_a_document_keeps_its_shape(document: t.Any) -> None:
    made = plain(document)
    json.dumps(made, ensure_ascii=False).encode()
    assert type(made) is type(document)
    if isinstance(document, list):
        assert len(made) == len(document)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text)[0] in "' "


def test_figures_and_ids_are_cells_as_they_are() -> None:
    for text in ("267.20", "i-014fc6ce2eed063b7", "c8g.24xlarge", "198.19.3.1", "", "False"):
        assert cell(text) == text


def files_of(folder: Path, hostile: str) -> dict[str, str]:
    """What a round leaves whose candidate reports this as an address, and whose launch failed with these words."""
    measured = probe([endpoint("fstream-mm", [address(hostile, 150, 170)])])
    shown, found = parse_look(json.dumps({"stage": hostile}) + "\n" + json.dumps({"probe": measured}))
    assert shown is not None and found is not None
    reports = Reports(str(folder))
    reports.write_round(round_result(probe=found["probe"]))
    reports.write_round(round_result("failed", failure=StepFailed("ssh", "SshTimeout", hostile).as_failure()))
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name[0] != "."}


@pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
def test_reports_hold_what_others_say_and_are_not_written_by_it(tmp_path: Path, hostile: str) -> None:
    written = files_of(tmp_path / "hostile", hostile)
    expected = files_of(tmp_path / "expected", "198.19.3.1")
    assert written.keys() == expected.keys()
    for name, text in written.items():
        assert shown_as_is(text.replace("\n", "")), name
        assert len(text.splitlines()) == len(expected[name].splitlines()), name
        if name.endswith(".csv"):
            rows, wanted = (list(csv.reader(one.splitlines())) for one in (text, expected[name]))
            assert [len(row) for row in rows] == [len(row) for row in wanted]
            assert not any(one.startswith(("=", "+", "-", "@")) for row in rows for one in row)
        if name.endswith(".jsonl"):
            assert [len(json.loads(line)) for line in text.splitlines()] == [
                len(json.loads(line)) for line in expected[name].splitlines()
            ]


def other_search(hostile: str) -> dict[str, t.Any]:
    """A champion of whoever writes the same document, or tags the same instances."""
    named = {**champion(120.0, "i-1"), "endpoint": hostile, "since": hostile, "address": hostile, "host_key": hostile}
    named["best_addresses"] = [{**row, "host": hostile} for row in named["best_addresses"]]
    return {**named, "kind": "champion", "search_id": "tokyo"}


def texts_in(document: t.Any) -> list[str]:
    if isinstance(document, dict):
        return [text for pair in document.items() for each in pair for text in texts_in(each)]
    if isinstance(document, (list, tuple)):
        return [text for each in document for text in texts_in(each)]
    return [document] if isinstance(document, str) else []


@pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
def test_a_document_of_another_writer_is_read_as_plain_text(hostile: str) -> None:
    state = parse(render(State(search_id="tokyo", champion=other_search(hostile))).encode())
    assert one_line(hostile) in texts_in(state.to_dict())
    assert all(shown_as_is(text) for text in texts_in(state.to_dict()))
    assert parse(render(state).encode()) == state


@pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
def test_a_document_made_from_tags_holds_plain_text(hostile: str) -> None:
    entry = other_search(hostile)
    about = {key: entry[key] for key in ("instance_id", "instance_type", "placement_group")}
    tags = {**tags_of(entry), "lowlatency:champion": "true"}
    made = rebuild([{**about, "state": "running", "tags": tags}], "tokyo")
    assert made.state.champion is not None
    assert made.state.champion["endpoint"] == one_line(hostile)
    assert all(shown_as_is(text) for text in texts_in(made.state.to_dict()))


@pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
def test_why_tags_cannot_be_used_is_told_in_one_line(hostile: str) -> None:
    tags = {"lowlatency:role": "champion", "lowlatency:search-id": "tokyo", "lowlatency:champion": "true"}
    instance = {"instance_id": hostile, "instance_type": "c8g.large", "placement_group": "g", "state": "running"}
    for wrong in ({}, {"lowlatency:samples": hostile}, {"lowlatency:addresses": hostile}):
        (note, *_more) = rebuild([{**instance, "tags": {**tags, **wrong}}], "tokyo").notes
        assert shown_as_is(note) and len(note.splitlines()) == 1


@pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
def test_logs_of_champions_are_not_written_by_what_others_say(tmp_path: Path, hostile: str) -> None:
    written = []
    for text in (hostile, "198.19.3.1"):
        before = {**other_search(text), "endpoint": "fstream-mm", "instance_type": text, "placement_group": text}
        reports = Reports(str(tmp_path / str(len(written))))
        promoted = round_result(best_us=90.0, champion_before=before)
        reports.write_round(promoted)
        reports.write_event(promoted)
        reports.write_lost({"champion": before}, ["i-1"])
        reports.append_line("lines.jsonl", {"why": text})
        files = sorted(path for path in (tmp_path / str(len(written))).iterdir() if path.name[0] != ".")
        written.append({path.name: path.read_text(encoding="utf-8").splitlines() for path in files})
    told, expected = written
    lost = sum("CHAMPION_LOST" in line for lines in told.values() for line in lines)
    assert lost == 1
    assert {name[:12]: len(lines) for name, lines in told.items()} == {
        name[:12]: len(lines) for name, lines in expected.items()
    }
    assert all(shown_as_is(line) for lines in told.values() for line in lines)
