"""What crosses the wire: models, enums, error codes. Imports nothing of the platform."""
