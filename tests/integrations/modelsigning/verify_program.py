"""Runs the stock `model_signing` command, and says how it ended."""

import json
import subprocess
import sys


def verify(arguments):
    program = [sys.executable, "-I", "-m", "model_signing", "verify", "key"]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True)
    return {"code": done.returncode, "said": done.stdout + done.stderr}


json.dump([verify(arguments) for arguments in json.load(sys.stdin)["commands"]], sys.stdout)
