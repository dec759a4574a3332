"""Runs one group of the suite. What fails is run once more, alone and loudly, when it is only a handful.

    python -m scripts.run_tests [--processes 2] PYTEST_ARGUMENT...

A test that passes the second time met a race or a limit of time on a busy machine. It is listed at the end as
flaky, for somebody to mend; a defect fails twice. More than a handful is no accident and is not run again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HANDFUL = 5
TESTS_FAILED = 1
"""pytest's exit code when tests ran and some of them failed; others say that they could not run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=0, help="how many work side by side, by files")
    options, arguments = parser.parse_known_args()
    side_by_side = ["-n", str(options.processes), "--dist", "loadfile"] if options.processes else []
    with tempfile.TemporaryDirectory(prefix="tests-") as cache:
        code, failed = _run([*side_by_side, *arguments], Path(cache) / "first")
        if code != TESTS_FAILED or not 0 < len(failed) <= HANDFUL:
            return code
        _say(f"{len(failed)} failed and run once more, alone: {', '.join(failed)}")
        code, again = _run(failed, Path(cache) / "second")
    flaky = sorted(set(failed) - set(again))
    if code in (0, TESTS_FAILED) and flaky:
        _say("\n  ".join(["FLAKY, passed only when run alone; look into it:", *flaky]))
    return code


def _run(arguments: list[str], cache: Path) -> tuple[int, list[str]]:
    """The exit code, and what failed."""
    program = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
    code = subprocess.run(program, check=False).returncode
    found = cache / "v" / "cache" / "lastfailed"
    return code, sorted(json.loads(found.read_text())) if found.is_file() else []


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
