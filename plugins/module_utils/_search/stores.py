# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: which store a search keeps its champion's document in."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable

from .champion_store import FileChampionStore, MendableStore
from .s3_store import S3ChampionStore, is_s3_url, parse_url

FILE_NAME = "champion_state.json"


def check_choice(choice: str | None) -> None:
    """Raise ValueError unless a store can be meant: null for the file, or C(s3://bucket/key)."""
    if choice is None:
        return
    if not is_s3_url(choice):
        raise ValueError("is not s3://BUCKET/KEY; null keeps the document in the reports directory")
    parse_url(choice)


def open_store(choice: str | None, reports_dir: str, s3_client: Callable[[], t.Any]) -> MendableStore:
    """The store that was chosen. C(s3_client) is called only for one in S3. Raises ValueError."""
    check_choice(choice)
    if choice is None:
        return FileChampionStore(os.path.join(reports_dir, FILE_NAME))
    return S3ChampionStore(s3_client(), *parse_url(choice))
