"""Secrets of principals: random, shown once, kept as scrypt (RFC 7914) with a salt each."""

import base64
import hashlib
import hmac

_COST = {"n": 2**14, "r": 8, "p": 1}  # about 50 ms and 16 MiB a try
BYTES = 32


def text(random: bytes) -> str:
    """The secret as a person or a file carries it; `random` is BYTES random bytes."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def kept(secret: str, salt: bytes) -> str:
    """What is stored instead of the secret; `salt` is 16 random bytes."""
    digest = hashlib.scrypt(secret.encode(), salt=salt, dklen=32, **_COST)
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def fits(secret: str, stored: str) -> bool:
    """Whether it is the secret that was stored. Takes as long when nothing was."""
    _, salt, digest = (stored or kept("", bytes(16))).split("$")
    found = hashlib.scrypt(secret.encode(), salt=base64.b64decode(salt), dklen=32, **_COST)
    return hmac.compare_digest(found, base64.b64decode(digest)) and bool(stored)
