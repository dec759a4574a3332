"""How the server lives with feature stores that are slow, hang or are gone: gates, and what is remembered."""
