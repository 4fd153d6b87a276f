# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m local_region up|down|status|serve --settings FILE`: the lab's command.

Progress goes to stderr, the result as one JSON object to stdout. A failure is one line on stderr, {"error": line} on
stdout, and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from local_region import control
from local_region.daemon import serve
from local_region.network.commands import NetworkError
from local_region.preflight import LabError
from local_region.settings import Settings, SettingsError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local_region", description="The simulated region of lowlatency.ec2.")
    parser.add_argument("command", choices=("up", "down", "status", "serve"))
    parser.add_argument("--settings", default="-", metavar="FILE", help="JSON file of settings, - for standard input")
    parser.add_argument("--check", action="store_true", help="up, down: only say whether anything would change")
    parser.add_argument("--racks", action="store_true", help="status: show racks, which a search must not know")
    parser.add_argument("--ready-fd", type=int, help="serve: descriptor that is told when the lab is up")
    return parser.parse_args()


def _settings(path: str) -> Settings:
    try:
        if path == "-":
            return Settings.from_json(sys.stdin.read())
        with open(path, encoding="utf-8") as file:
            return Settings.from_json(file.read())
    except OSError as error:
        raise SettingsError(f"can't read the settings: {error}") from error


def _run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    if arguments.command == "up":
        return control.up(settings, _say, arguments.check)
    if arguments.command == "down":
        return control.down(settings, _say, arguments.check)
    return control.status(settings, arguments.racks)


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def main() -> int:
    arguments = _arguments()
    try:
        settings = _settings(arguments.settings)
        if arguments.command == "serve":
            return serve(settings, arguments.ready_fd)
        print(json.dumps(_run(arguments, settings)))
    except (SettingsError, LabError, NetworkError, OSError) as error:
        _say(f"error: {error}")
        print(json.dumps({"changed": False, "error": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
