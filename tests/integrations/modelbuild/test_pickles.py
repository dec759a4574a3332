import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ml_platform.integrations.modelbuild import scan_pickles


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def dangerous(folder: Path) -> set[str]:
    return {finding.name for finding in scan_pickles(folder) if finding.severity == "dangerous"}


class TestScanning:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize(
        ("function", "name"),
        [(os.system, "system"), (eval, "eval"), (subprocess.Popen, "Popen"), (__import__, "__import__")],
    )
    def test_calls_are_found_in_every_protocol(
        self, tmp_path: Path, protocol: int, function, name: str
    ) -> None:
        data = pickle.dumps({"weights": [1.0], "x": Runs(function, "exit 3")}, protocol=protocol)
        (tmp_path / "model.pkl").write_bytes(data)
        assert {found.rsplit(".", 1)[1] for found in dangerous(tmp_path)} == {name}

    def test_nothing_is_run(self, tmp_path: Path) -> None:
        data = pickle.dumps(Runs(os.system, f"touch {tmp_path}/ran"))
        (tmp_path / "model.pkl").write_bytes(data)
        assert dangerous(tmp_path)
        assert not (tmp_path / "ran").exists()

    def test_plain_data_and_arrays_are_clean(self, tmp_path: Path) -> None:
        data = pickle.dumps({"a": np.arange(1000), "b": {1, 2}, "c": (1.5, None, "posix", "system")})
        (tmp_path / "model.pkl").write_bytes(data)
        np.save(tmp_path / "w.npy", np.ones(3))
        assert scan_pickles(tmp_path) == []

    def test_a_second_pickle_behind_the_first(self, tmp_path: Path) -> None:
        (tmp_path / "m.bin").write_bytes(pickle.dumps([1]) + pickle.dumps(Runs(os.system, "x")))
        assert dangerous(tmp_path) == {"posix.system"}

    def test_inside_an_archive_and_an_object_array(self, tmp_path: Path) -> None:
        data = pickle.dumps(Runs(os.system, "x"))
        with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
            archive.writestr("model/data.pkl", data)
        buffer = io.BytesIO()
        np.save(buffer, np.array([Runs(eval, "1")], dtype=object), allow_pickle=True)
        (tmp_path / "w.npy").write_bytes(buffer.getvalue())
        assert dangerous(tmp_path) == {"posix.system", "builtins.eval"}

    def test_a_name_out_of_the_memo(self, tmp_path: Path) -> None:
        data = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x01x\x85R."
        (tmp_path / "model.pkl").write_bytes(data)
        assert dangerous(tmp_path) == {"posix.system"}

    def test_a_broken_pickle_is_said_to_be_unreadable_with_what_its_bytes_name(self, tmp_path: Path) -> None:
        data = pickle.dumps([Runs(os.system, "x")], protocol=0)
        (tmp_path / "model.pkl").write_bytes(b"\xff\xff" + data)
        found = scan_pickles(tmp_path)
        assert {f.severity for f in found} == {"dangerous", "unreadable"}

    @pytest.mark.parametrize(
        "junk", [b"", b"\x80\x04", os.urandom(2000), b"c" * 5000, b"\x80\x05\x8e" + b"\xff" * 8]
    )
    def test_junk_is_no_error(self, tmp_path: Path, junk: bytes) -> None:
        (tmp_path / "model.pkl").write_bytes(junk)
        scan_pickles(tmp_path)

    def test_a_trained_pipeline_holds_nothing_dangerous(self, models: Path) -> None:
        assert dangerous(models / "churn") == set()
        assert dangerous(models / "regressor") == set()

    def test_custom_code_is_called_code(self, models: Path) -> None:
        assert "code" in {finding.severity for finding in scan_pickles(models / "shares")}
