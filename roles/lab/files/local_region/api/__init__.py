# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EC2 API of the simulated region: moto in server mode, extended in process.

`server.RegionApi` is the only thing that the rest of the lab needs. `moto_hooks` is the only room
that changes moto itself, so what breaks with a new moto breaks there.
"""
