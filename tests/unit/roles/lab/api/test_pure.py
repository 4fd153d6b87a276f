# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure parts: filters, pages and pools."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.api.call_log import credential_scope, is_write
from local_region.api.filters import page, value_matches
from local_region.api.launch import with_root_device
from local_region.api.pools import AddressPool, PoolExhausted

PLAIN = st.text(st.characters(exclude_characters="*?\\", exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("value", "wanted", "matches"),
    [
        ("champion", "champion", True),
        ("champion", "champ", False),
        ("champion", "champ*", True),
        ("champion", "*", True),
        ("champion", "Champion", False),
        ("a.b", "a?b", True),
        ("axb", "a.b", False),
        ("a*b", r"a\*b", True),
        ("axb", r"a\*b", False),
        ("a[1]", "a[1]", True),
        ("two\nlines", "two*", True),
        ("", "", True),
    ],
)
def test_wildcards(value, wanted, matches):
    assert value_matches([value], [wanted]) is matches


@given(PLAIN, PLAIN)
def test_plain_text_matches_itself_alone(value, wanted):
    assert value_matches([value], [wanted]) == (value == wanted)


@given(st.text(max_size=8), st.text(max_size=8))
def test_an_escaped_text_matches_itself(value, other):
    escaped = "".join(f"\\{one}" if one in "*?\\" else one for one in value)
    assert value_matches([value], [escaped])
    assert value_matches([other], [escaped]) == (other == value)


def test_any_of_many():
    assert value_matches(["a", "b"], ["x", "b"])
    assert not value_matches([], ["*"])


@given(st.lists(st.integers(), unique=True, max_size=30), st.integers(1, 10))
def test_pages_hold_everything_once(items, size):
    seen, token = [], None
    for _page in range(len(items) + 1):
        cut, token = page(items, size, token, str)
        assert len(cut) <= size
        seen += cut
        if token is None:
            break
    assert token is None
    assert seen == items


@given(st.integers(24, 30), st.integers(0, 3), st.integers(0, 300))
def test_pool_gives_every_address_once(prefix, reserved, wanted):
    taken = set()
    pool = AddressPool(f"198.18.4.0/{prefix}", lambda: taken, reserved=reserved)
    hosts = [str(one) for one in ipaddress.ip_network(f"198.18.4.0/{prefix}").hosts()]
    size = max(0, len(hosts) - reserved)
    assert pool.free() == size
    given_out = []
    for _n in range(min(wanted, size)):
        given_out.append(pool.take())
        taken.add(given_out[-1])
    assert given_out == hosts[reserved : reserved + len(given_out)]
    assert pool.free() == size - len(given_out)
    if len(given_out) == size:
        with pytest.raises(PoolExhausted):
            pool.take()


def test_pool_comes_back_to_a_freed_address_last():
    taken = set()
    pool = AddressPool("198.18.4.0/29", lambda: taken)
    first = pool.take()
    rest = [pool.take() for _n in range(5)]
    assert first not in rest
    assert pool.take() == first


@pytest.mark.parametrize(
    ("action", "write"),
    [
        ("RunInstances", True),
        ("DescribeInstances", False),
        ("GetConsoleOutput", False),
        ("CreateTags", True),
        ("AssociateAddress", True),
        ("ListBuckets", False),
        ("PUT", True),
        ("GET", False),
        ("HEAD", False),
    ],
)
def test_what_counts_as_a_write(action, write):
    assert is_write(action) is write


@pytest.mark.parametrize(
    ("authorization", "scope"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=lab/20261122/ap-northeast-1/ec2/aws4_request, SignedHeaders=host",
            ("ec2", "ap-northeast-1", "lab"),
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIA1/20261122/eu-west-1/SSM/aws4_request,SignedHeaders=host",
            ("ssm", "eu-west-1", "AKIA1"),
        ),
        ("", ("s3", "", "")),
        ("Bearer something", ("s3", "", "")),
    ],
)
def test_who_signed(authorization, scope):
    assert credential_scope(authorization) == scope


def test_a_dry_run_is_no_write():
    assert not is_write("RunInstances", dry_run=True)


def test_root_device_is_added_with_defaults():
    data = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-1", "DeleteOnTermination": False}}
    root, other = with_root_device([data], "/dev/xvda")
    assert root == {
        "DeviceName": "/dev/xvda",
        "Ebs": {"DeleteOnTermination": True, "VolumeType": "gp3", "VolumeSize": 8},
    }
    assert other["Ebs"] == {"SnapshotId": "snap-1", "DeleteOnTermination": False, "VolumeType": "gp3"}
    assert "VolumeType" not in data["Ebs"]
