#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs the unit tests and one search in a lab with the oldest packages that the lists allow, on the oldest Python here,
# and with the newest ones on the newest Python. Each end is a copy of the checkout in .bounds/, with a .venv of its own.
#
#   tools/bounds.sh                       both ends
#   tools/bounds.sh oldest                one of them
#   BOTO3=1.34.0 tools/bounds.sh oldest   the same, as if that were the oldest boto3 allowed
#
# PYTEST_ARGS goes to the run of the unit tests.
set -eu

cd "$(dirname "$0")/.."
. tools/python.sh
lists="requirements.txt requirements-lab.txt requirements-dev.txt"
PATH="$PATH:/usr/sbin:/sbin"
export PATH

say() { printf '%s\n' "bounds: $*"; }

copy_checkout() {
    # $1: where to. Takes all files that git doesn't ignore; the .venv of an earlier copy stays.
    mkdir -p "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
    # A file that was deleted and not committed yet is in git's list.
    git ls-files -z --cached --others --exclude-standard |
        tar -c --null --files-from - --ignore-failed-read --warning=no-failed-read | tar -x -C "$1"
}

# The commands below run in a copy.

minimum() {
    # $1: a file, $2: the text before the version. Prints the version.
    sed -nE "s/^ *$2'?>=([0-9.]+).*/\1/p" "$1"
}

constraints() {
    # Prints the lower bound of each package as its only version.
    # shellcheck disable=SC2086
    sed -nE 's/^([A-Za-z][A-Za-z0-9._-]*)(\[[a-z,]+\])?>=([0-9.]+).*/\1==\3/p' $lists meta/ee-requirements.txt | sort -u
}

take_boto3() {
    # Names the version in BOTO3 as the oldest, in each file that names it.
    real=$(minimum requirements.txt boto3)
    say "boto3 $BOTO3 stands for the minimum, $real"
    grep -rlIF --exclude-dir=.venv "$real" . | xargs sed -i "s/$(printf '%s' "$real" | sed 's/\./\\./g')/$BOTO3/g"
}

install_oldest() {
    [ -z "${BOTO3:-}" ] || take_boto3
    constraints >constraints.txt
    PIP_CONSTRAINT=$(pwd)/constraints.txt tools/setup.sh
    # ansible asks for a later bugfix release of ansible-core than this collection.
    .venv/bin/python -m pip install -q --no-deps "ansible-core==$(minimum meta/runtime.yml 'requires_ansible: ')"
    oldest_aws=$(minimum galaxy.yml 'amazon\.aws: ')
    if [ "$oldest_aws" != "$(version_of_amazon_aws)" ]; then
        say "galaxy.yml allows amazon.aws $oldest_aws; the oldest ansible of requirements.txt brings another" >&2
        return 1
    fi
}

install_newest() {
    tools/setup.sh
    # shellcheck disable=SC2046
    .venv/bin/python -m pip install -q -U --upgrade-strategy eager $(printf -- '-r %s ' $lists)
}

version_of_amazon_aws() {
    .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["collection_info"]["version"])' \
        <.venv/collections/ansible_collections/amazon/aws/MANIFEST.json
}

show_versions() {
    say "$(.venv/bin/python -V), amazon.aws $(version_of_amazon_aws)," \
        "$(.venv/bin/python -m pip freeze | grep -E '^(ansible|ansible-core|boto3|botocore|Jinja2|moto|pytest)==' | tr '\n' ' ')"
}

run_tests() {
    # Both runs, also when the first one fails.
    passed=0
    .venv/bin/python tools/test_parts.py unit || passed=1
    .venv/bin/python -m pytest tests/bounds -q || passed=1
    return "$passed"
}

run_end() {
    # $1: oldest or newest.
    case "$1" in
    oldest) python=$(all_pythons | head -n 1) ;;
    newest) python=$(all_pythons | tail -n 1) ;;
    *) say "'$1' is no end; choose oldest or newest" >&2 && exit 2 ;;
    esac
    say "$1: Python $python"
    copy_checkout ".bounds/$1"
    cd ".bounds/$1"
    export PYTHON="${python#* }" ANSIBLE_CONFIG="$(pwd)/ansible.cfg"
    "install_$1"
    show_versions
    run_tests
}

if [ "$#" -eq 1 ]; then
    run_end "$1"
else
    # Each in a process of its own, which ends at the first command that fails. The other end runs all the same.
    failed=
    for end in oldest newest; do
        if tools/bounds.sh "$end"; then say "$end: passed"; else failed="$failed $end"; fi
    done
    [ -z "$failed" ] || { say "failed:$failed" >&2 && exit 1; }
fi
