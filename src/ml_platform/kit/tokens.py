"""Bearer tokens: 256 random bits, kept only as their SHA-256.

A fast hash is right here: the input has full entropy, so there is nothing to guess, and the check is on
the path of every prediction.
"""

import hashlib
import secrets


def new_token(key_id: str) -> str:
    """A token that names its key: `mlops_<id>_<secret>`."""
    return f"mlops_{key_id.removeprefix('key_')}_{secrets.token_urlsafe(32)}"


def sha256_of(token: str) -> str:
    """The form in which a token is stored and compared."""
    return hashlib.sha256(token.encode()).hexdigest()
