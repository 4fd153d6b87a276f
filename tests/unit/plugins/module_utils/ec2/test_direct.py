# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for a program that is no module is made of the options and the environment that a module would take."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.direct import connect, with_environment

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}


def test_what_was_given_goes_before_the_environment() -> None:
    found = with_environment({"region": "ap-northeast-1", "access_key": "mine", "secret_key": "too"}, KEYS)
    assert (found["region"], found["access_key"], found["secret_key"]) == ("ap-northeast-1", "mine", "too")
    found = with_environment({}, KEYS)
    assert (found["region"], found["access_key"], found["secret_key"]) == ("eu-west-1", "id", "secret")
    assert found["validate_certs"] is True


def test_a_profile_that_was_given_keeps_keys_of_the_environment_out() -> None:
    found = with_environment({"profile": "work"}, {**KEYS, "AWS_PROFILE": "home"})
    assert found["profile"] == "work"
    assert found.get("access_key") is None
    assert found.get("secret_key") is None


def test_keys_that_were_given_keep_a_profile_of_the_environment_out() -> None:
    assert with_environment({"access_key": "mine", "secret_key": "x"}, {"AWS_PROFILE": "home"}).get("profile") is None


def test_the_client_says_who_asks_and_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    given = {"region": "ap-northeast-1", "endpoint_url": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"}
    client = connect(given, "who-asks")
    assert client.meta.endpoint_url == "http://127.0.0.1:9"
    assert client.meta.region_name == "ap-northeast-1"
    assert client.meta.config.user_agent_extra == "who-asks"
    assert client.meta.config.retries["total_max_attempts"] == 1
