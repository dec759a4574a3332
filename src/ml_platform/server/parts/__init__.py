"""One module a capability: which adapter stands behind its interfaces, and what runs for it."""
