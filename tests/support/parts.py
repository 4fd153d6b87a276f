# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which private modules a file imports, named as the role probe names the parts of its commands."""

from __future__ import annotations

import ast
from pathlib import Path

UTILS = Path(__file__).resolve().parents[2] / "plugins/module_utils"
BASE = "ansible_collections.lowlatency.ec2.plugins.module_utils"


def imported_parts(path: Path) -> set[str]:
    """The modules that a file imports: C(probe.plan) for module_utils/_probe/plan.py."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = _absolute(node, path)
            if module == BASE or module.startswith(f"{BASE}."):
                inside = module[len(BASE) + 1 :]
                found |= {_module(inside, alias.name) for alias in node.names}
    return {module.removeprefix("_") for module in found}


def part_file(part: str) -> Path:
    """The file of a part."""
    return UTILS / f"_{part.replace('.', '/')}.py"


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    folder = path.resolve().parents[node.level - 1].relative_to(UTILS)
    return ".".join([BASE, *folder.parts, *([node.module] if node.module else [])])


def _module(inside: str, name: str) -> str:
    """A name is a module of its own where what it is imported from is a package."""
    is_package = (UTILS / inside.replace(".", "/")).is_dir()
    return ".".join(each for each in (inside, name) if each) if is_package else inside
