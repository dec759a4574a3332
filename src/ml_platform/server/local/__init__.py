"""An embedded installation on one machine: its supervisor and the commands that manage it."""
