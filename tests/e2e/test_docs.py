"""The README and the tutorial, followed word by word on an installation in which the demo was run."""

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, RUN, blocks
from tests.docs.reader import Reader
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class TestFollowing:
    @pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
    def test_a_document_does_what_it_says(
        self, name: str, installation: Installation, tmp_path: Path
    ) -> None:
        """Every block of Python and shell runs, and prints what the block of text after it shows.

        The README's Python does so twice: what somebody tries, they try again.
        """
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        found = [block for block in blocks((ROOT / name).read_text()) if block.language in RUN]
        assert any(block.skip is None for block in found)
        with Reader(Path(name), tmp_path, installation.environment) as reader:
            for block in found:
                if block.skip is None:
                    reader.follow(block)
            if name == "README.md":
                for block in found:
                    if block.language == "python" and block.skip is None:
                        reader.follow(block)
