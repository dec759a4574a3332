"""The hash against the library in C."""

import mmh3
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.kit.murmur import murmur3_32


class TestMurmur:
    @given(st.binary(max_size=200))
    def test_it_is_the_reference_implementations(self, data):
        assert murmur3_32(data) == mmh3.hash(data, signed=False)
