# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirements of a module that calls AWS. The fragment of amazon.aws names an older boto3."""

from __future__ import annotations


class ModuleDocFragment:
    """The requirements section."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - python >= 3.9
  - boto3 >= 1.38.20
  - botocore >= 1.38.20
"""
