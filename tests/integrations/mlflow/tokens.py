"""The people of the tests and their tokens."""

ANN, BOB, CAT, REA, BOT, DEE = "ann-token", "bob-token", "cat-token", "rea-token", "bot-token", "dee-token"

TOKENS = {
    ANN: {"user": "ann", "workspaces": {"team-a": "write"}, "default": "team-a"},
    BOB: {"user": "bob", "workspaces": {"team-b": "write"}, "default": "team-b"},
    CAT: {"user": "cat", "workspaces": {"team-a": "write", "team-b": "write"}, "default": "team-a"},
    REA: {"user": "rea", "workspaces": {"team-a": "read"}, "default": "team-a"},
    BOT: {"user": "platform", "workspaces": {"team-a": "write"}, "default": "team-a", "internal": True},
    DEE: {"user": "dee", "workspaces": {}, "default": None},
}
