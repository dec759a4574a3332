"""What the supervisor starts is told what the settings say."""

import pytest

from ml_platform.inference.settings import load_settings
from ml_platform.kit.redis import RedisAddress
from ml_platform.server.local.children import children_of
from ml_platform.server.settings import Settings


class TestInferenceServer:
    def test_gets_the_addresses_of_the_settings(self, tmp_path):
        inference = {"port": 18081, "grpc_port": 19000, "workers": 3}
        settings = Settings(home=tmp_path, inference=inference)
        (command,) = (child.command for child in children_of(settings) if child.name == "inference")
        told = load_settings(command[command.index("ml_platform.inference.main") + 1 :], {})
        assert (told.port, told.grpc_port, told.workers) == (18081, 19000, 3)

    def test_is_told_of_redis_where_no_list_of_processes_shows_it(self, tmp_path):
        url = "redis://:hunter2@cache:6380/2"
        settings = Settings(home=tmp_path, online_store=url)
        (child,) = (child for child in children_of(settings) if child.name == "inference")
        assert "hunter2" not in " ".join(child.command)
        assert "hunter2" not in f"{settings!r}{settings.model_dump_json()}"
        told = load_settings([], child.environment).online_store()
        assert told == settings.online_store_address() == RedisAddress.parse(url)

    def test_is_told_of_the_file_that_names_redis(self, tmp_path):
        file = tmp_path / "redis.url"
        file.write_text("redis://:hunter2@cache:6380/2\n")
        settings = Settings(home=tmp_path, online_store_file=file)
        (child,) = (child for child in children_of(settings) if child.name == "inference")
        assert child.environment == {"MLOPS_INFERENCE_ONLINE_STORE_URL_FILE": str(file)}
        assert load_settings([], child.environment).online_store() == settings.online_store_address()

    @pytest.mark.parametrize(
        "url", ["http://:hunter2@cache", "redis://:hunter2@cache:x", "redis://:hunter2@cache/x"]
    )
    def test_a_wrong_address_is_told_without_showing_it(self, tmp_path, url):
        with pytest.raises(ValueError, match="MLOPS_ONLINE_STORE: the address of Redis") as caught:
            Settings(home=tmp_path, online_store=url).online_store_address()
        assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}"

    def test_has_no_grpc_unless_it_is_asked_for(self, tmp_path):
        (command,) = (c.command for c in children_of(Settings(home=tmp_path)) if c.name == "inference")
        assert load_settings(command[command.index("ml_platform.inference.main") + 1 :], {}).grpc_port == -1
