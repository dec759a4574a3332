"""Bearer tokens: 256 random bits, kept only as their SHA-256.

A fast hash is right here: the input has full entropy, so there is nothing to guess, and the check is on
the path of every prediction.
"""

import hashlib
import hmac
import secrets


def new_token(key_id: str) -> str:
    """A token that names its key: `mlops_<id>_<secret>`."""
    return f"mlops_{key_id.removeprefix('key_')}_{secrets.token_urlsafe(32)}"


def sha256_of(token: str) -> str:
    """The form in which a token is stored and compared."""
    return hashlib.sha256(token.encode()).hexdigest()


def derived_token(secret: bytes, purpose: str) -> str:
    """The platform's own token for a purpose: a function of its secret, so it is the same after a restart."""
    return f"mlops_platform_{hmac.new(secret, purpose.encode(), hashlib.sha256).hexdigest()}"


def service_token(secret: bytes) -> str:
    """What the control plane and the supervisor ask an inference server for its state with."""
    return derived_token(secret, "inference:service")
