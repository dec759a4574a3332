"""What the supervisor starts is told what the settings say."""

from ml_platform.inference.settings import load_settings
from ml_platform.server.local.children import children_of
from ml_platform.server.settings import Settings


class TestInferenceServer:
    def test_gets_the_addresses_of_the_settings(self, tmp_path):
        inference = {"port": 18081, "grpc_port": 19000, "workers": 3}
        settings = Settings(home=tmp_path, inference=inference)
        (command,) = (child.command for child in children_of(settings) if child.name == "inference")
        told = load_settings(command[command.index("ml_platform.inference.main") + 1 :], {})
        assert (told.port, told.grpc_port, told.workers) == (18081, 19000, 3)

    def test_has_no_grpc_unless_it_is_asked_for(self, tmp_path):
        (command,) = (c.command for c in children_of(Settings(home=tmp_path)) if c.name == "inference")
        assert load_settings(command[command.index("ml_platform.inference.main") + 1 :], {}).grpc_port == -1
