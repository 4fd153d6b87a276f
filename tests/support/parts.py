# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which private modules a file imports, named as the role probe names the parts of its commands."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
CONTROLLER = PLUGINS / "plugin_utils"


def imported_parts(path: Path, utils: Path = UTILS) -> set[str]:
    """The modules of utils that a file imports: C(probe.plan) for module_utils/_probe/plan.py."""
    base, found = _base(utils), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = _absolute(node, path, utils)
            if module == base or module.startswith(f"{base}."):
                inside = module[len(base) + 1 :]
                found |= {_module(utils / inside.replace(".", "/"), inside, alias.name) for alias in node.names}
    return {module.removeprefix("_") for module in found}


def part_file(part: str) -> Path:
    """The file of a part."""
    return UTILS / f"_{part.replace('.', '/')}.py"


def rooms(utils: Path) -> dict[str, set[str]]:
    """What each room of utils uses beside itself."""
    used: dict[str, set[str]] = defaultdict(set)
    for path in utils.rglob("*.py"):
        room = path.relative_to(utils).parts[0].removeprefix("_").removesuffix(".py")
        used[room] |= {part.partition(".")[0] for part in imported_parts(path, utils)} - {room}
    return dict(used)


def circles(uses: Mapping[str, set[str]]) -> list[str]:
    """The rooms that use themselves, directly or through others."""
    return sorted(room for room in uses if room in _reached(uses, room))


def _reached(uses: Mapping[str, set[str]], room: str) -> set[str]:
    """What a room uses, and what that uses, and so on."""
    reached: set[str] = set()
    ahead = set(uses[room])
    while ahead:
        reached |= ahead
        ahead = set().union(*(uses.get(other, set()) for other in ahead)) - reached
    return reached


def _base(utils: Path) -> str:
    return f"ansible_collections.lowlatency.ec2.plugins.{utils.name}"


def _absolute(node: ast.ImportFrom, path: Path, utils: Path) -> str:
    if not node.level:
        return node.module or ""
    folder = path.resolve().parents[node.level - 1].relative_to(utils)
    return ".".join([_base(utils), *folder.parts, *([node.module] if node.module else [])])


def _module(place: Path, inside: str, name: str) -> str:
    """A name is a module of its own where what it is imported from is a package."""
    return ".".join(each for each in (inside, name) if each) if place.is_dir() else inside
