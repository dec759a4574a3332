"""Addresses as clients of Redis write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from ml_platform.kit.redis import RedisAddress

SECRET = "hunter2"


class TestParsing:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("redis://localhost", RedisAddress(host="localhost")),
            ("redis://10.0.0.1:6380/3", RedisAddress(host="10.0.0.1", port=6380, database=3)),
            ("redis://h?db=4", RedisAddress(host="h", database=4)),
            ("redis://[::1]:7/1", RedisAddress(host="::1", port=7, database=1)),
            ("redis://:p%40ss@h", RedisAddress(host="h", password="p@ss")),
            ("redis://me:p%3Aw@h/2", RedisAddress(host="h", database=2, username="me", password="p:w")),
            ("unix:///run/r.sock?db=2", RedisAddress(path="/run/r.sock", database=2)),
            ("unix://me:pw@/run/r.sock", RedisAddress(path="/run/r.sock", username="me", password="pw")),
            (
                "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
                RedisAddress(host="h", tls=True, ca_file="/ca.pem", cert_file="/c.pem", key_file="/k.pem"),
            ),
            ("rediss://h?ssl_cert_reqs=none", RedisAddress(host="h", tls=True, verify=False)),
        ],
    )
    def test_each_part_is_found(self, url, expected):
        assert RedisAddress.parse(url) == expected

    @given(
        user=st.text(min_size=1, max_size=8),
        password=st.text(min_size=1, max_size=8),
        number=st.integers(0, 99),
    )
    def test_it_is_read_as_the_usual_client_reads_it(self, user, password, number):
        from urllib.parse import quote

        url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@host:7000/{number}"
        ours, theirs = RedisAddress.parse(url), parse_url(url)
        assert (ours.username, ours.password) == (theirs["username"], theirs["password"])
        assert (ours.host, ours.port, ours.database) == (theirs["host"], theirs["port"], theirs.get("db", 0))

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost:6379",
            f"http://:{SECRET}@h",
            f"redis://:{SECRET}@",
            f"redis://:{SECRET}@h:port",
            f"redis://u:{SECRET}@h:99999",
            f"redis://:{SECRET}@[::1",
            f"redis://:{SECRET}@h/x",
            f"redis://:{SECRET}@h/1?timeout=5",
            f"redis://:{SECRET}@h?{SECRET}",
            f"redis://:{SECRET}@h?ssl_ca_certs=/x",
            f"rediss://:{SECRET}@h?ssl_cert_reqs=maybe",
            f"redis://:{SECRET}@h#x",
            "redis://user@h",
            "unix://host/path",
            "unix:",
            f"redis://:{SECRET}%ff@h",
        ],
    )
    def test_what_cannot_be_read_is_refused_without_being_shown(self, url):
        with pytest.raises(ValueError) as caught:
            RedisAddress.parse(url)
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert SECRET not in shown

    def test_it_never_shows_its_password(self):
        address = RedisAddress.parse(f"rediss://me:{SECRET}@h:7/1")
        assert SECRET not in f"{address} {address!r}"
        assert str(address) == "Redis at h:7, database 1"
