#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs a tool with the checkout and amazon.aws on its collections path.
set -eu
cd "$(dirname "$0")/.."
ANSIBLE_COLLECTIONS_PATH="$(pwd)/.venv/collections"
PATH="$(pwd)/.venv/bin:$PATH"
export ANSIBLE_COLLECTIONS_PATH PATH
exec "$@"
