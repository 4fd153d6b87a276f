#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes .venv with everything that the two commands need. Quick, and changes nothing, when run again.
# `tools/setup.sh vm` also installs what boots machines with a kernel of their own.
set -eu

cd "$(dirname "$0")/.."
. tools/python.sh
venv=.venv
wanted=${1:-}
lists="requirements.txt requirements-lab.txt requirements-dev.txt"

say() { printf '%s\n' "setup: $*"; }

missing_packages() {
    while read -r binary package only; do
        case "$binary" in '' | '#'*) continue ;; esac
        [ -z "$only" ] || [ "$only" = "$wanted" ] || continue
        PATH="$PATH:/usr/sbin:/sbin" command -v "$binary" >/dev/null 2>&1 || printf '%s\n' "$package"
    done <bindep.txt | sort -u | tr '\n' ' '
}

apt_install() {
    # $1: a list of Debian packages. Works as root where apt is there; else says what is missing.
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing $1"
        # A service that a package starts would listen on this machine: the lab only needs the programs.
        export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
        apt-get update -qq
        # shellcheck disable=SC2086
        apt-get install -y -qq --no-install-recommends $1 >/dev/null
    else
        say "missing: $1(install them, or run this as root where apt is)" >&2
        return 1
    fi
}

packages=$(missing_packages)
[ -z "$packages" ] || apt_install "$packages"

python=$(pick_python) || {
    say "no Python from 3.11 to 3.13 starts here; install one, or name it with PYTHON=/path/to/python3" >&2
    exit 1
}
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv "

stamp="$python $("$python" -V) $(pwd) $(cat $lists tools/setup.sh | cksum)"
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "making $venv with $("$python" -V), this takes a few minutes the first time"
    "$python" -m venv --clear "$venv"
    # shellcheck disable=SC2046
    "$venv/bin/python" -m pip install -q --disable-pip-version-check $(printf -- '-r %s ' $lists)
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # One place where Ansible and Python both find this checkout and amazon.aws as collections.
    mkdir -p "$venv/collections/ansible_collections/lowlatency" "$venv/collections/ansible_collections/amazon"
    ln -sfn "$(pwd)" "$venv/collections/ansible_collections/lowlatency/ec2"
    ln -sfn "$site/ansible_collections/amazon/aws" "$venv/collections/ansible_collections/amazon/aws"
    printf '%s' "$stamp" >"$venv/stamp"
fi
say "ready ($("$venv/bin/python" -V), ansible-core $("$venv/bin/python" -c 'from ansible.release import __version__; print(__version__)'))"
