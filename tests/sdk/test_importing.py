"""`import ml_platform` is light: a notebook or an application pays for what it uses."""

import subprocess
import sys
import time

_HEAVY = "numpy pandas mlflow fastapi sqlalchemy pyarrow polars sklearn starlette dbos feast"


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestImporting:
    def test_the_package_alone_loads_nothing_at_all(self) -> None:
        assert (
            run("import sys, ml_platform; print('httpx' in sys.modules, 'pydantic' in sys.modules)")
            == "False False"
        )

    def test_the_sdk_loads_nothing_of_the_server(self) -> None:
        loaded = run(
            "import sys\nfrom ml_platform import Platform, PlatformError\n"
            f"print(*(name for name in '{_HEAVY}'.split() if name in sys.modules))\n"
            "print(*(m for m in sys.modules if m.startswith('ml_platform.')"
            " and m.split('.')[1] not in ('sdk', 'contracts')))"
        )
        assert loaded == ""

    def test_it_takes_no_time_that_a_person_would_notice(self) -> None:
        program = "import time; t = time.process_time(); import ml_platform; print(time.process_time() - t)"
        assert min(float(run(program)) for _ in range(3)) < 0.2
        program = program.replace("import ml_platform;", "from ml_platform import Platform;")
        assert min(float(run(program)) for _ in range(3)) < 2

    def test_a_name_that_is_not_there_is_an_attribute_error(self) -> None:
        started = time.monotonic()
        assert "no attribute 'Plattform'" in run(
            "import ml_platform\ntry:\n    ml_platform.Plattform\nexcept AttributeError as e:\n    print(e)"
        )
        assert time.monotonic() - started < 30
