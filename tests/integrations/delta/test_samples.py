"""Samples of columns: bounded, everywhere, the same again."""

import polars as pl

from ml_platform.integrations.delta.samples import LEAST, MOST, samples


class TestSamples:
    def test_a_million_rows_give_two_thousand_from_everywhere(self) -> None:
        frame = pl.DataFrame({"n": pl.int_range(1_000_000, eager=True)})
        [sample] = samples(frame)
        assert len(set(sample.values)) == MOST
        assert min(sample.values) < 10_000
        assert max(sample.values) > 990_000

    def test_the_same_table_gives_the_same_sample(self) -> None:
        frame = pl.DataFrame({"n": pl.int_range(100_000, eager=True)})
        assert [s.values for s in samples(frame)] == [s.values for s in samples(frame)]

    def test_nulls_are_left_out_and_rare_values_are_seen(self) -> None:
        rare: list[str | None] = [None] * 99_990 + ["here"] * 10
        [sample] = samples(pl.DataFrame({"rare": rare}))
        assert list(sample.values) == ["here"] * 10

    def test_wide_tables_give_fewer_of_each(self) -> None:
        wide = pl.DataFrame({f"c{number}": pl.int_range(5_000, eager=True) for number in range(2_000)})
        assert {len(sample.values) for sample in samples(wide)} == {LEAST}

    def test_texts_are_cut_and_bytes_left_out(self) -> None:
        frame = pl.DataFrame({"text": ["x" * 10**6] * 50, "bytes": [b"x"] * 50})
        text, raw = samples(frame)
        assert {len(value) for value in text.values} == {256}
        assert (text.type, list(raw.values)) == ("string", [])
