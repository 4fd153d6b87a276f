# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's settings are checked once, and a bad value is answered in one line that names it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.faults import SCENARIOS
from local_region.settings import Settings, SettingsError


def test_everything_has_a_default() -> None:
    settings = Settings.from_mapping({})
    assert (settings.index, settings.seed, settings.scenario, settings.api_port) == (0, 1, (), 4566)
    assert settings.state_dir == "/run/lowlatency-lab/0"
    assert settings.boot_s is None


def test_labs_beside_each_other_differ_in_port_and_state() -> None:
    settings = Settings.from_mapping({"index": 5})
    assert settings.api_port == 4571
    assert settings.state_dir == "/run/lowlatency-lab/5"


def test_values_of_templates_arrive_as_text() -> None:
    given_values = {"index": "2", "seed": "7", "scenario": "throttled,slow_boot", "api_port": "4000", "boot_s": "2.5"}
    settings = Settings.from_mapping(given_values)
    assert (settings.index, settings.seed, settings.api_port, settings.boot_s) == (2, 7, 4000, 2.5)
    assert settings.scenario == ("slow_boot", "throttled")


@given(
    index=st.integers(0, 15),
    seed=st.integers(-(2**40), 2**40),
    scenario=st.lists(st.sampled_from(sorted(SCENARIOS))),
    boot_s=st.none() | st.floats(0, 1000),
)
def test_json_gives_back_what_went_in(index: int, seed: int, scenario: list[str], boot_s: float | None) -> None:
    settings = Settings.from_mapping({"index": index, "seed": seed, "scenario": scenario, "boot_s": boot_s})
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.differences(settings) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index", 16),
        ("index", -1),
        ("index", "first"),
        ("seed", "abc"),
        ("seed", 1.5),
        ("seed", True),
        ("seed", None),
        ("scenario", "no_such"),
        ("scenario", 3),
        ("api_port", 0),
        ("api_port", 65536),
        ("api_port", "http"),
        ("boot_s", -1),
        ("boot_s", "soon"),
        ("boot_s", "nan"),
        ("boot_s", "inf"),
        ("truth_path", "reports/lab_truth.json"),
        ("policies", "search.json"),
        ("colour", "red"),
    ],
)
def test_a_bad_value_is_named_in_one_line(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^lab_{name}") as caught:
        Settings.from_mapping({name: value})
    assert "\n" not in str(caught.value)
    if name != "colour":
        assert str(value) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"lab"'])
def test_settings_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Settings.from_json(text)


def test_a_running_lab_says_what_differs() -> None:
    running = Settings.from_mapping({"seed": 1, "owner_uid": 0})
    wanted = Settings.from_mapping({"seed": 2, "scenario": "throttled", "owner_uid": 1000})
    assert running.differences(wanted) == ["lab_seed is 1, not 2", "lab_scenario is none, not throttled"]
    assert running.differences(Settings.from_json(json.dumps({"owner_uid": 1000}))) == []


POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}


def test_policies_are_checked_before_a_lab_comes_up() -> None:
    settings = Settings.from_mapping({"policies": {"AKIATEST": POLICY}})
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.differences(Settings.from_mapping({})) == ["lab_policies is for AKIATEST, not none"]
    with pytest.raises(SettingsError, match=r"^lab_policies: AKIATEST: Statement 0: Effect") as caught:
        Settings.from_mapping({"policies": {"AKIATEST": {**POLICY, "Statement": [{"Effect": "Maybe"}]}}})
    assert "\n" not in str(caught.value)
