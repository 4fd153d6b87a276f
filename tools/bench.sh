#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run benches one after the other: tools/bench.sh probe 'search_modes --seeds 1 2'. One that misses a limit does not
# keep the others from running; those that did are named at the end.
set -u
cd "$(dirname "$0")/.." || exit 1
missed=
for bench in "$@"; do
    printf '\n## %s\n\n' "$bench"
    # Unquoted on purpose: what follows the name are its arguments.
    # shellcheck disable=SC2086
    set -- $bench
    name=$1
    shift
    .venv/bin/python "tests/bench/$name.py" "$@" || missed="$missed $name"
done
if [ -n "$missed" ]; then
    printf '\nMissed a limit or failed:%s\n' "$missed" >&2
    exit 1
fi
