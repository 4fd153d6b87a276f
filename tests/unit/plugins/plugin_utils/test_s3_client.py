# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The S3 client of a round is made of what the EC2 modules are given."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import StoreError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import S3ChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._s3_client import s3_client
from support.region import REGION, TestRegion


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


def test_it_goes_where_the_ec2_modules_go_and_sends_each_request_once(region_api: TestRegion) -> None:
    client = s3_client(region_api.connection)
    client.create_bucket(Bucket="made", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert S3ChampionStore(client, "made", "key").swap(0, State(search_id="s")).generation == 1
    assert client.meta.endpoint_url == region_api.endpoint_url
    assert client.meta.config.retries["total_max_attempts"] == 1
    assert {call.region for call in region_api.calls} == {REGION}


def test_what_is_not_given_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = s3_client({"access_key": "a", "secret_key": "b", "aws_ca_bundle": "/etc/ssl/ca.pem"})
    assert client.meta.region_name == "eu-central-1"
    assert client._endpoint.http_session._verify == "/etc/ssl/ca.pem"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"profile": "p", "access_key": "a", "secret_key": "b"}, "search_champion_store: no client for S3"),
        ({"profile": "missing", "region": REGION}, "missing"),
    ],
)
def test_options_that_make_no_client_are_told_in_one_line(options: dict[str, str], told: str) -> None:
    with pytest.raises(StoreError, match=told):
        s3_client(options)
