"""Real parts for the tests of the inference plane: models, a control plane's one route, server processes."""
