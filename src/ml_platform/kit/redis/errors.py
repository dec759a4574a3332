"""What can go wrong with Redis. No text holds a password, a key or a value.

RedisError
├── RedisGone      nobody listens, or the connection ended
├── RedisLate      no answer by the deadline
└── RedisRefused   an answer, but an error: `code` is its first word
"""

_REASONS = {
    "NOAUTH": "it wants a password, and none is set",
    "WRONGPASS": "it does not take the user name or password",
    "NOPERM": "its user may not do that",
    "LOADING": "it is starting and still loads its data",
    "MOVED": "it is a cluster, which is not supported: give the address of a single server",
    "CROSSSLOT": "it is a cluster, which is not supported: give the address of a single server",
    "CLUSTERDOWN": "it is a cluster, which is not supported: give the address of a single server",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "READONLY": "it is a replica, which cannot be written",
    "MISCONF": "it cannot save to its disk and refuses writes",
    "OOM": "it has no memory left",
    "WRONGTYPE": "a key holds something else than a hash",
    "BUSY": "it runs a script and answers nobody",
}


class RedisError(Exception):
    """Base of everything that is raised about Redis."""


class RedisGone(RedisError):  # noqa: N818 - a state, not a mistake
    """Nobody listens, the name is unknown, or the connection ended."""


class RedisLate(RedisError):  # noqa: N818 - a state, not a mistake
    """No answer by the deadline."""


class RedisRefused(RedisError):  # noqa: N818 - a state, not a mistake
    """Redis answered with an error. Its own text may quote arguments, so only its code is kept."""

    def __init__(self, text: str) -> None:
        word = text.split(maxsplit=1)[0][:32] if text.strip() else ""
        self.code = word if word.isalnum() and word.isupper() else "ERR"
        if "DB index" in text:
            reason = "it has no database of that number"
        elif "AUTH" in text and "without any password" in text:
            reason = "it has no password, and one is set"
        else:
            reason = _REASONS.get(self.code, "it refused the command")
        super().__init__(f"{reason} ({self.code})")
