"""The program that touches a model: converts it, or asks it for predictions.

It runs in the model's own environment, where nothing of the platform is installed, so neither this file nor
`modelwork` imports anything of ours. One request file in, one answer file out; what the model prints goes to
the log.
"""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))  # behind all packages of the environment
    sys.exit(importlib.import_module("modelwork.program").main(sys.argv[1]))
