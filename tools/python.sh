# shellcheck shell=sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Finds a Python that the collection supports. To be sourced.

start_python() {
    # $1: a Python. Prints its version and path if it really starts, a shim on the PATH may stand for nothing, and is
    # of 3.11 to 3.13. The path is the interpreter's own, also when an activated virtual environment comes first.
    "$1" -c 'if True:
        import sys
        if not (3, 11) <= sys.version_info[:2] <= (3, 13):
            sys.exit(1)
        print("%d.%d.%d" % sys.version_info[:3], getattr(sys, "_base_executable", sys.executable))' 2>/dev/null
}

pick_python() {
    # Prints the path of PYTHON, or of the newest Python on the PATH.
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if started=$(start_python "$name"); then
            printf '%s\n' "${started#* }"
            return 0
        fi
    done
    return 1
}

all_pythons() {
    # Prints version and path of each Python on the PATH and of pyenv, the oldest first.
    for name in python3.11 python3.12 python3.13 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python; do
        start_python "$name" || true
    done | sort -uV
}
