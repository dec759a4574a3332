"""The composition root of the control plane: settings, the application, the supervisor."""
