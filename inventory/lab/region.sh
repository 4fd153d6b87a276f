#!/bin/sh
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The lab's instances as hosts. The program lies outside this folder, since Ansible tries to read every file in it.
exec python3 "$(dirname "$0")/../lab_region.py" "$@"
