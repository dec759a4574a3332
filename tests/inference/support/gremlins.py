"""An isolated model that does whatever its input says: every way in which a model can go wrong."""

import textwrap
from pathlib import Path

from .bundles import Bundle, build_mischief

GREMLIN = textwrap.dedent(
    '''
    """A model that obeys."""
    import ctypes, os, signal, sys, threading, time
    import mlflow.pyfunc
    from mlflow.models import set_model

    KEPT = []

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("not even that")

    def spin():
        while True:
            pass

    def daemon():
        """A process in a session of its own, whose parent is gone."""
        told, tell = os.pipe()
        if not os.fork():
            os.setsid()
            pid = os.fork()
            if not pid:
                time.sleep(3600)
            os.write(tell, str(pid).encode())
            os._exit(0)
        return int(os.read(told, 20))

    def obey(command, number, value):
        if command == "hang":
            time.sleep(3600)
        elif command == "loop":
            spin()
        elif command == "spin":  # answers, and goes on turning
            for _ in range(number or 1):
                threading.Thread(target=spin, daemon=True).start()
        elif command == "exit":
            os._exit(3)
        elif command == "quit":
            sys.exit(4)
        elif command == "segfault":
            ctypes.string_at(0)
        elif command == "raise":
            raise ValueError("the model dislikes this")
        elif command == "mute":
            raise Mute
        elif command == "leak":
            KEPT.append(bytearray(b"x") * (number << 20))
        elif command == "print":
            line = "y" * 1023 + "\\n"
            for _ in range(number << 9):
                sys.stdout.write(line)
                sys.stderr.write(line)
        elif command == "fork":  # and both come back
            os.fork()
        elif command == "daemon":
            return daemon()
        elif command == "herd":
            for _ in range(number):
                if not os.fork():
                    time.sleep(3600)
        elif command == "garbage":
            for end in range(3, 64):
                try:
                    os.write(end, b"\\x00\\x00\\x00\\x05hello")
                except OSError:
                    pass
        elif command == "close":
            os.closerange(3, 64)
        elif command == "pid":
            return os.getpid()
        elif command == "big":
            return "z" * (number << 20)
        elif command == "huge":
            return 10 ** 30
        elif command == "deep":
            nested = []
            for _ in range(5000):
                nested = [nested]
            return nested
        elif command == "surrogate":
            return "\\ud800"
        elif command == "infinite":
            return float("inf")
        elif command == "bytes":
            return object
        return value * 2

    class Gremlin(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            whole = {"none": None, "text": "a" * len(model_input), "mapping": {"a": 1}, "many": [0.0] * 99}
            answers = []
            for text, value in zip(model_input["command"], model_input["value"]):
                command, _, number = text.partition(" ")
                if command in whole:
                    return whole[command]
                answers.append(obey(command, int(number or 0), value))
            return answers

    set_model(Gremlin())
    '''
)


def build_gremlin(directory: Path) -> Bundle:
    return build_mischief(directory, GREMLIN)
