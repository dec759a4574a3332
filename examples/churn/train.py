"""The training job's script: `churn_mlops.models.train`, found beside this file when it is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from churn_mlops.models.train import main

if __name__ == "__main__":
    sys.exit(main())
