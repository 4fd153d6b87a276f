# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for something of many instances at a time, so that one that EC2 refuses does not keep the others from it.

Private to lowlatency.ec2: its interface may change at any time.

EC2 refuses a request as a whole for the sake of one id (protected, or not known everywhere yet). Which one it was is
only in the text of the error, so the batch is halved until the refused ids stand alone: one among a hundred costs at
most fifteen requests.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .client import SERVER_CODES, THROTTLING_CODES, Ec2Error

NOT_PERMITTED = "OperationNotPermitted"
NOT_FOUND = "InvalidInstanceID.NotFound"
#: A policy may allow it for some instances, by their tags, and not for others.
NOT_ALLOWED = "UnauthorizedOperation"
#: Codes that may stand for one id of a batch, not for all of it.
OF_ONE_ID = frozenset({NOT_PERMITTED, NOT_FOUND, NOT_ALLOWED})
#: As many that are not allowed, and none that is, mean that nothing is.
_ALL_DENIED = 3
#: Codes that are met after all retries: whatever else is asked for now would meet them too.
OF_THE_MOMENT = THROTTLING_CODES | SERVER_CODES

# TerminateInstances takes up to 1,000 ids; AWS asks for batches, and a request for many is more often cut off.
BATCH = 100
# EC2 takes 200 values of filters in one request (FilterLimitExceeded); some are for those that limit it to a search.
FILTER_VALUES = 190


@dataclasses.dataclass
class Answers:
    """What was answered: C(states) by id of those that were taken, the AWS code by id of those that were C(refused)."""

    states: dict[str, str] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def batches(names: t.Sequence[str], size: int) -> list[list[str]]:
    """The names in their order, in lists of at most C(size)."""
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def ask_in_batches(
    ids: t.Sequence[str], ask: t.Callable[[list[str]], t.Mapping[str, str]], size: int, answers: Answers
) -> None:
    """Ask for all ids, at most C(size) at a time; C(ask) answers states by id.

    An id that is refused is in the answers with its code, and so is what could not be asked for because EC2 takes no
    more requests for now. Raises C(Ec2Error) for any other code, and if no id at all is allowed; what was answered
    until then is in the answers.
    """
    denied: list[Ec2Error] = []
    waiting = batches(ids, size)[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            answers.states.update(ask(batch))
        except Ec2Error as error:
            code = error.code or ""
            if code in OF_THE_MOMENT:
                answers.refused.update({one: code for left in [batch, *waiting] for one in left})
                break
            if code not in OF_ONE_ID:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                waiting += [batch[middle:], batch[:middle]]
                continue
            answers.refused[batch[0]] = code
            denied += [error] if code == NOT_ALLOWED else []
            if len(denied) >= _ALL_DENIED and not answers.states:
                break
    if denied and not answers.states:
        raise denied[-1]
