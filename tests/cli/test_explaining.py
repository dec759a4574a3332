"""`mlops deployments explain` against a real deployment."""

import json
from pathlib import Path

from tests.cli.conftest import ON_SQLITE
from tests.cli.running import Mlops
from tests.services.deployments.conftest import bench, inference  # noqa: F401 - fixtures
from tests.support.rollouts import LOW, Bench


@ON_SQLITE
class TestExplaining:
    def test_tells_each_columns_share(self, bench: Bench, mlops: Mlops, tmp_path: Path) -> None:  # noqa: F811
        bench.plant("sums", bias=1.0)
        bench.assess("sums", LOW)
        bench.until(bench.deploy("sums"), "succeeded")
        mlops.use(MLOPS_API_URL=bench.platform.url, MLOPS_API_KEY=bench.engineer.token)
        told = mlops("deployments", "explain", "staging/sums", "-i", '{"x0": 4}', "-i", "[1.0]")
        assert told.code == 0, told.stderr
        assert told.data == [
            {"base_value": 2.0, "values": {"x0": 3.0}},
            {"base_value": 2.0, "values": {"x0": 0.0}},
        ]
        rows = tmp_path / "rows.json"
        rows.write_text(json.dumps({"instances": [{"x0": 4}] * 17}))
        refused = mlops("deployments", "explain", "staging/sums", "--file", str(rows))
        assert (refused.code, "at most 16 are explained at once, got 17" in refused.stderr) == (8, True)
        assert mlops("deployments", "explain", "staging/sums").code == 2
