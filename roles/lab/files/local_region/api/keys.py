# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launch keys as hosts need them."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization

from local_region.api.region_state import RegionState


def authorized_key(state: RegionState, key_name: str | None) -> str | None:
    """Return the OpenSSH public key line of a key pair, imported or created.

    EC2 also imports PEM and DER; those are converted.
    """
    if not key_name:
        return None
    material: bytes = state.backend.key_pairs[key_name].material_public
    line = material.strip()
    if not line.startswith((b"ssh-", b"ecdsa-")):
        load = serialization.load_pem_public_key if b"-----BEGIN" in line else serialization.load_der_public_key
        line = load(material).public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()
