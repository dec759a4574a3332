"""Protocols: routes and wire forms, without logic of their own; the data plane is behind all of them."""
