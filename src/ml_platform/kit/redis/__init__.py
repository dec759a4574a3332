"""Redis: where it is, and a connection that keeps to a deadline."""

from ml_platform.kit.redis.address import RedisAddress
from ml_platform.kit.redis.connection import RedisConnection
from ml_platform.kit.redis.errors import RedisError, RedisGone, RedisLate, RedisRefused
from ml_platform.kit.redis.protocol import command, commands

__all__ = [
    "RedisAddress",
    "RedisConnection",
    "RedisError",
    "RedisGone",
    "RedisLate",
    "RedisRefused",
    "command",
    "commands",
]
