# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rounds of one slot asked of EC2, read from the order of its calls alone."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence


def requests_of_rounds(actions: Sequence[str]) -> list[tuple[Counter[str], int]]:
    """For each round, in order, what it asked by action, and how many polls of a wait there were besides.

    A round begins with the look for its group, right before the group is made; what comes before the first one is left
    out. Polls are the DescribeInstances that follow RunInstances without anything between, but for the last one, with
    which the next step looks for the instance.
    """
    begins = [number - 1 for number, action in enumerate(actions) if action == "CreatePlacementGroup"]
    found = []
    for begin, end in itertools.pairwise([*begins, len(actions)]):
        counts: Counter[str] = Counter()
        polls, launching = 0, False
        for action, following in itertools.zip_longest(actions[begin:end], actions[begin + 1 : end]):
            polled = launching and action == following == "DescribeInstances"
            launching = polled or action == "RunInstances"
            polls += polled
            counts[action] += not polled
        found.append((+counts, polls))
    return found
