"""The shape of policy text, looked at before Cedar reads it.

Cedar reads and evaluates by recursion: text that nests deep enough ends the process instead of raising. What
passes here is read on a fraction of the smallest stack that a thread has.
"""

import re

DEEPEST = 20
MOST_OPERATORS = 300
MOST_IFS = 20
_PIECE = re.compile(
    r'"(?:\\.|[^"\\])*"|//[^\n\r]*|[A-Za-z_]\w*|&&|\|\||[=!<>]=|[-+*!<>.%/]|[(\[{]|[)\]}]|;|"', re.ASCII
)
_WORDS = frozenset({"if", "has", "like", "in", "is"})


def shape_problem(text: str) -> str | None:
    """Why a text is too deep or too long-winded to be read, or None."""
    depth = operators = ifs = 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == '"':
            return f"line {_line(text, match)}: a text begins here and does not end"
        if piece in "([{":
            depth += 1
        elif piece in ")]}":
            depth = max(0, depth - 1)
        elif piece == ";":
            operators = ifs = 0
        elif piece in _WORDS or not (piece[0].isalnum() or piece[0] in '_"' or piece.startswith("//")):
            operators += 1
            ifs += piece == "if"
        if depth > DEEPEST:
            return f"line {_line(text, match)}: nested deeper than {DEEPEST} brackets"
        if operators > MOST_OPERATORS:
            return f"line {_line(text, match)}: more than {MOST_OPERATORS} operators in one policy"
        if ifs > MOST_IFS:
            return f"line {_line(text, match)}: more than {MOST_IFS} times 'if' in one policy"
    return None


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
