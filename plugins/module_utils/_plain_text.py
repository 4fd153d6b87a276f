# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: text of others (a candidate, DNS, tags, AWS) that a person will read on a terminal or in a report. Pure.

It enters here, so that no report and no terminal has to mistrust what it shows: a line stays one line, a terminal is
told nothing but characters, what is read from left to right is written from left to right, and every text can be
written to a file.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

#: Line ends and other white space that moves a cursor: a space says enough.
_WHITE = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
#: Controls (C0, C1), characters that cannot be seen or that change the order of others, and halves of characters,
#: which no file in UTF-8 can hold.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def one_line(text: object) -> str:
    """The text in one line of characters that can be seen; others are named, C(\\x1b) for an escape."""
    shown = str(text)
    # Nearly every text is of these characters, and a document holds hundreds of texts.
    if shown.isascii() and shown.isprintable():
        return shown
    return _UNSEEN.sub(_named, _WHITE.sub(" ", shown))


def _named(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(value: t.Any) -> t.Any:
    """The same document with each text, and each key, as L(one_line) makes it."""
    if isinstance(value, str):
        return one_line(value)
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, (dict, Mapping)):
        return {plain(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def cell(text: object) -> str:
    """The text for a cell of a CSV file that a spreadsheet may open: none is taken for a formula."""
    line = one_line(text)
    return f"'{line}" if line[:1] in ("=", "+", "-", "@") else line
