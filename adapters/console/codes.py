"""One-time codes (TOTP, RFC 6238) and the recovery codes for a lost phone.

A code is six digits that change every 30 s. One step to either side is accepted, for clocks that
are not quite right; a step counts once, so a code read over a shoulder is of no use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from pyotp.hotp import HOTP
from pyotp.totp import TOTP

_STEP_S = 30
_STEPS_APART = (0, -1, 1)
_RECOVERY_CODES = 8
# No letters that look alike: a code is written down by hand. 10 of 31 signs: 49 bits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def new_secret() -> str:
    """Return a secret of 160 bits in base 32."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def address(secret: str, account: str, issuer: str) -> str:
    """Return the ``otpauth://`` address an authenticator app reads from a QR code."""
    return TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def step_of(secret: str, code: str, *, now_ms: int) -> int | None:
    """Return the time step a code belongs to, or None when it fits none of the three."""
    code = "".join(code.split())
    if not (len(code) == 6 and code.isascii() and code.isdigit()):
        return None
    counted, now = HOTP(secret), now_ms // 1000 // _STEP_S
    for apart in _STEPS_APART:
        if hmac.compare_digest(counted.at(now + apart), code):
            return now + apart
    return None


def new_password() -> str:
    """Return a password to hand over, in four groups of four."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))


def new_recovery_codes() -> list[str]:
    """Return fresh recovery codes, in two groups of five."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(2))
        for _ in range(_RECOVERY_CODES)
    ]


def recovery_hash(code: str) -> str:
    """Return what is kept of a recovery code; case, blanks and hyphens do not matter."""
    plain = "".join(c for c in code.lower() if c.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
