"""The team's own HTTP service around the model or the platform's endpoint."""
