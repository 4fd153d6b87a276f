#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs ansible-test sanity over the built collection, in a folder of its own as ansible-test wants it.
set -eu

cd "$(dirname "$0")/.."
home=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root="$work/ansible_collections"
mkdir -p "$root/lowlatency/ec2" "$root/amazon"
# What git knows and what it does not ignore: virtual environments and results stay out.
git ls-files --cached --others --exclude-standard -z | xargs -0 cp --parents -t "$root/lowlatency/ec2"
ln -s "$(readlink -f .venv/collections/ansible_collections/amazon/aws)" "$root/amazon/aws"
PATH="$home/.venv/bin:$PATH"
python=$("$home/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# ansible-test fetches pip's installer from the network for its own environments. The interpreter brings
# one along: put it where ansible-test looks first, so that a package index is all that is needed.
"$home/.venv/bin/python" "$home/tools/ansible_test_pip.py"

cd "$root/lowlatency/ec2"
git init -q . && git add -A
ansible-test sanity --local --python "$python" --requirements --color no "$@"
