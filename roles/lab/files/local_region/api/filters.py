# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of describe calls, with EC2's wildcards: `*` any text, `?` one character, a backslash escapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from local_region.api.errors import ec2_error

Values = Sequence[str]
Extractor = Callable[[Any], Values]

_MOST_VALUES = 200


@lru_cache(maxsize=4096)
def _pattern(wanted: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", wanted, flags=re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(part, re.escape(part.removeprefix("\\") or "\\")) for part in parts), re.DOTALL)


def value_matches(values: Iterable[str], wanted: Iterable[str]) -> bool:
    """Return whether any of a resource's values matches any of the wanted ones."""
    patterns = [_pattern(text) for text in wanted]
    return any(pattern.fullmatch(value) for value in values for pattern in patterns)


def text(value: Any) -> list[str]:
    """Return a value as filters see it: nothing for None, `true` and `false` for booleans."""
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)]


def attribute(*names: str) -> Extractor:
    """Return an extractor that follows attribute names; a missing one means no value."""

    def extract(resource: Any) -> Values:
        value = resource
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return text(value)

    return extract


def check_names(filters: Iterable[str], extractors: Mapping[str, Extractor]) -> None:
    """Raise InvalidParameterValue for a filter that does not exist, even when there is nothing to filter."""
    for name in filters:
        if name not in extractors and not name.startswith("tag:") and name not in ("tag-key", "tag-value"):
            raise ec2_error("InvalidParameterValue", f"The filter '{name}' is invalid")


def check_size(filters: Mapping[str, Sequence[str]]) -> None:
    """Raise FilterLimitExceeded for more values in all than EC2 takes in one request."""
    if sum(len(values) for values in filters.values()) > _MOST_VALUES:
        raise ec2_error(
            "FilterLimitExceeded",
            f"The maximum number of filter values specified on a single call is {_MOST_VALUES}",
        )


def resource_matches(
    resource: Any,
    tags: Mapping[str, str],
    filters: Mapping[str, Sequence[str]],
    extractors: Mapping[str, Extractor],
) -> bool:
    """Return whether a resource passes all filters, whose names have been checked."""
    for name, wanted in filters.items():
        if name.startswith("tag:"):
            values: Values = [tags[name[4:]]] if name[4:] in tags else []
        elif name == "tag-key":
            values = list(tags)
        elif name == "tag-value":
            values = list(tags.values())
        else:
            values = extractors[name](resource)
        if not value_matches(values, wanted):
            return False
    return True


def page(
    items: Sequence[Any], max_results: int | None, token: str | None, key: Callable[[Any], str]
) -> tuple[list[Any], str | None]:
    """Cut one page out of a list in stable order; the token is the key of the last item that was sent.

    Raises InvalidNextToken when the token is of no item.
    """
    start = 0
    if token:
        keys = [key(item) for item in items]
        if token not in keys:
            raise ec2_error("InvalidNextToken", f"The token '{token}' is invalid")
        start = keys.index(token) + 1
    size = max_results or 1000
    cut = list(items[start : start + size])
    more = start + size < len(items)
    return cut, key(cut[-1]) if more and cut else None
