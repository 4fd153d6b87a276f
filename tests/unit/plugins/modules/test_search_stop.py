# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The request that a search ends after its rounds."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stop_request import StopRequestError, stop_requests
from ansible_collections.lowlatency.ec2.plugins.modules import search_stop
from support.modules import run_module


def ask(folder: Path, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    asked = {"search_id": "tokyo", "reports_dir": str(folder), **options}
    return run_module(search_stop.main, asked, check=check, diff=True)


def test_a_request_is_made_once_and_taken_back_once(tmp_path: Path) -> None:
    first = ask(tmp_path, reason="enough")
    assert first["changed"] and first["request"]["reason"] == "enough"
    assert json.loads((tmp_path / "stop_requested_tokyo.json").read_text(encoding="utf-8")) == first["request"]
    again = ask(tmp_path, reason="other")
    assert (again["changed"], again["request"]) == (False, first["request"])
    assert ask(tmp_path, state="absent")["changed"]
    assert not ask(tmp_path, state="absent")["changed"]
    assert stop_requests(str(tmp_path), "tokyo").read() is None


def test_check_mode_shows_what_it_would_do(tmp_path: Path) -> None:
    found = ask(tmp_path, check=True)
    assert found["changed"] and found["diff"]["before"] == {} and found["diff"]["after"] == found["request"]
    assert list(tmp_path.iterdir()) == []
    ask(tmp_path)
    assert ask(tmp_path, state="absent", check=True)["changed"]
    assert stop_requests(str(tmp_path), "tokyo").read() is not None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    failed = run_module(search_stop.main, {"search_id": "tokyo", "reports_dir": str(missing)}, fail_ok=True)
    assert failed["msg"].startswith(f"search_reports_dir: '{missing}' is no folder")
    assert not ask(missing, state="absent")["changed"]


def test_a_request_that_cannot_be_understood_is_one(tmp_path: Path) -> None:
    requests = stop_requests(str(tmp_path), "a/b")
    (tmp_path / "stop_requested_a%2Fb.json").write_text("please", encoding="utf-8")
    assert requests.read() == {}
    assert requests.clear()


def test_a_request_that_cannot_be_kept_names_its_path(tmp_path: Path) -> None:
    (tmp_path / "stop_requested_tokyo.json").mkdir()
    requests = stop_requests(str(tmp_path), "tokyo")
    for act in (requests.read, requests.clear, lambda: requests.write({})):
        with pytest.raises(StopRequestError, match=r"^search_reports_dir: '.*stop_requested_tokyo\.json' cannot be"):
            act()
