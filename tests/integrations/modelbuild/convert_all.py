"""Converts several models in one process, as the model's worker converts one: starting it costs seconds."""

import importlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    program = importlib.import_module("modelwork.program")
    for request in json.loads(Path(sys.argv[2]).read_text()):
        Path(request["asked"]).write_text(json.dumps(request))
        program.main(request["asked"])
