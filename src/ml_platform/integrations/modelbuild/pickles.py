"""What the pickles of a model would import when they are loaded, read from their opcodes alone.

A finding is evidence for a person or a policy, no proof of innocence: pickles can hide what they do, and a
model that was trained with custom code carries code by design.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

MAX_PICKLE_BYTES = 512 * 1024**2
MAX_OPCODES = 5_000_000
MAX_FINDINGS = 200

_DANGEROUS_MODULES = frozenset(
    {
        *(
            "os",
            "posix",
            "nt",
            "sys",
            "subprocess",
            "commands",
            "popen2",
            "pty",
            "shutil",
            "tempfile",
            "io",
            "_io",
        ),
        *("socket", "http", "urllib", "requests", "ftplib", "smtplib", "telnetlib", "paramiko", "webbrowser"),
        *(
            "ctypes",
            "_ctypes",
            "code",
            "codeop",
            "runpy",
            "importlib",
            "imp",
            "zipimport",
            "pip",
            "ensurepip",
        ),
        *("pickle", "_pickle", "dill", "marshal", "pdb", "bdb", "timeit", "cProfile", "profile", "pydoc"),
        *("doctest", "unittest", "venv", "multiprocessing", "asyncio", "signal", "builtins"),
    }
)
_DANGEROUS_NAMES = frozenset(
    {
        *("__builtin__.eval", "__builtin__.exec", "__builtin__.execfile", "__builtin__.compile"),
        *("__builtin__.open", "__builtin__.__import__", "__builtin__.getattr", "__builtin__.file"),
        *("numpy.testing._private.utils.runstring", "torch.hub.load", "torch.load", "joblib.load"),
        *("operator.attrgetter", "operator.methodcaller", "operator.itemgetter", "functools.reduce"),
    }
)
_HARMLESS = frozenset(
    {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"),
        *("range", "set", "slice", "str", "tuple", "type", "print", "len", "super", "property", "Ellipsis"),
    }
)
_CODE = ("cloudpickle.", "dill.", "types.CodeType", "types.FunctionType", "__main__.")
_IN_RAW_BYTES = re.compile(
    rb"(?:posix|nt|os|subprocess|builtins|__builtin__|socket)(?:\n|\x94?\x8c.)"
    rb"(?:system|popen|Popen|call|check_output|run|eval|exec|__import__|execv|spawn\w*|socket)"
)
_MAGIC = re.compile(rb"\x80[\x02-\x05]")
_SUFFIXES = {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"}
_ZIPS = {".pt", ".pth", ".npz", ".zip", ".skops", ".ckpt", ".keras"}

_STRINGS = {
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}


@dataclass(frozen=True)
class Finding:
    """One thing that loading a file would do.

    `dangerous`: it reaches the operating system, the network or the interpreter. `code`: it carries code of
    its own. `unreadable`: it cannot be read to its end, so nothing is known of the rest.
    """

    path: str
    severity: Literal["dangerous", "code", "unreadable"]
    name: str
    detail: str


def scan_pickles(model_dir: Path) -> list[Finding]:
    """Reads every pickle below `model_dir`, also inside archives and NumPy files; loads none.

    Returns:
        Findings, dangerous ones first, without repetition, at most `MAX_FINDINGS`.
    """
    findings: set[Finding] = set()
    for path in sorted(model_dir.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(model_dir).as_posix()
        with path.open("rb") as file:
            findings |= set(_scan_file(name, file, path.suffix.lower(), depth=0))
    order = {"dangerous": 0, "unreadable": 1, "code": 2}
    return sorted(findings, key=lambda f: (order[f.severity], f.path, f.name))[:MAX_FINDINGS]


def _scan_file(name: str, file: IO[bytes], suffix: str, depth: int) -> Iterator[Finding]:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        yield from _scan_zip(name, file, depth)
    elif head.startswith(b"\x93NUMPY"):
        yield from _scan_numpy(name, file)
    elif suffix in _SUFFIXES or _MAGIC.match(head):
        yield from _scan_pickle(name, file.read(MAX_PICKLE_BYTES + 1))
    elif suffix in _ZIPS:
        yield Finding(name, "unreadable", "archive", "it is not the archive that its name says")


def _scan_zip(name: str, file: IO[bytes], depth: int) -> Iterator[Finding]:
    if depth > 1:
        yield Finding(name, "unreadable", "archive", "archives inside archives inside archives")
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[:10_000]:
                if member.file_size > MAX_PICKLE_BYTES:
                    continue  # weights; a pickle of that size is found by its suffix below
                with archive.open(member) as inner:
                    content = io.BytesIO(inner.read(MAX_PICKLE_BYTES))
                yield from _scan_file(
                    f"{name}!{member.filename}", content, Path(member.filename).suffix.lower(), depth + 1
                )
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        yield Finding(name, "unreadable", "archive", f"the archive cannot be read: {error}")


def _scan_numpy(name: str, file: IO[bytes]) -> Iterator[Finding]:
    header = file.read(10)
    length = int.from_bytes(header[8:10] if header[6:7] == b"\x01" else header[8:10] + file.read(2), "little")
    described = file.read(min(length, 1_000_000))
    if b"'O'" in described or b"|O" in described:
        yield from _scan_pickle(name, file.read(MAX_PICKLE_BYTES + 1))


def _scan_pickle(name: str, data: bytes) -> Iterator[Finding]:
    if len(data) > MAX_PICKLE_BYTES:
        yield Finding(name, "unreadable", "size", f"it is larger than {MAX_PICKLE_BYTES} bytes")
        data = data[:MAX_PICKLE_BYTES]
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            for module, attribute in _globals(stream):
                finding = _judge(name, module, attribute)
                if finding is not None:
                    yield finding
    except Exception as error:
        at = stream.tell()
        yield Finding(name, "unreadable", "pickle", f"not a pickle from byte {at} on: {str(error)[:100]}")
        for match in list(_IN_RAW_BYTES.finditer(data))[:20]:
            text = match.group().decode("latin-1")
            called = ".".join(part for part in re.split(r"[^\w]+", text) if part)
            yield Finding(name, "dangerous", called, "its name stands in the unreadable bytes")


def _globals(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """The globals that one pickle asks for; STACK_GLOBAL takes its two names from the stack."""
    strings: list[str] = []
    memo: dict[int, str] = {}
    last: str | None = None
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > MAX_OPCODES:
            raise ValueError("too many opcodes")
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            module, _, attribute = str(argument).partition(" ")
            yield module, attribute
        elif name == "STACK_GLOBAL":
            yield (strings[-2], strings[-1]) if len(strings) > 1 else ("?", "?")
        elif name in _STRINGS:
            strings.append(str(argument))
        elif name == "MEMOIZE":
            if last in _STRINGS:
                memo[len(memo)] = strings[-1]
            else:
                memo[len(memo)] = "?"
            continue  # it leaves the string on top of the stack
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = strings[-1] if last in _STRINGS and strings else "?"
            continue
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            strings.append(memo.get(int(argument or 0), "?"))
        del strings[:-64]
        last = name


def _judge(path: str, module: str, attribute: str) -> Finding | None:
    name = f"{module}.{attribute}"
    root = module.split(".", maxsplit=1)[0]
    if module in ("builtins", "__builtin__") and attribute in _HARMLESS:
        return None
    if "?" in name:
        return Finding(path, "unreadable", name, "the name of what it imports is computed")
    if root in _DANGEROUS_MODULES or name in _DANGEROUS_NAMES or module == "__builtin__":
        return Finding(path, "dangerous", name, "loading the file imports it")
    if name.startswith(_CODE) or name in ("types.CodeType", "types.FunctionType"):
        return Finding(path, "code", name, "the file carries code of its own")
    return None
