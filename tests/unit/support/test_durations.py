# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of tests are handed out with the longest first; the record names files that are there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.durations import UNKNOWN_S, longest_first, recorded
from support.lab_index import ROOT

FILES = st.lists(st.sampled_from(["a.py", "b.py", "c.py", "new.py"]))
SECONDS = {"a.py": 1.0, "b.py": 100.0, "c.py": 40.0}


@given(FILES)
def test_longest_first_and_no_test_is_lost(files: list[str]) -> None:
    tests = list(enumerate(files))
    ordered = longest_first(tests, dict(enumerate(files)), SECONDS)
    assert sorted(ordered) == tests
    took = [SECONDS.get(file, UNKNOWN_S) for _number, file in ordered]
    assert took == sorted(took, reverse=True)
    for file in set(files):
        numbers = [number for number, of in ordered if of == file]
        assert numbers == sorted(numbers)


def test_the_record_is_of_files_that_are_there() -> None:
    files = recorded()
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
