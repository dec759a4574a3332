"""Where the inference server is told of Redis, and that it tells nobody else."""

import pytest

from ml_platform.inference.settings import Settings, load_settings
from ml_platform.kit.redis import RedisAddress

SECRET = "hunter2"
URL = f"redis://:{SECRET}@cache:6380/2"
ADDRESS = RedisAddress(host="cache", port=6380, database=2, password=SECRET)


class TestTheAddress:
    def test_it_comes_from_the_environment_or_an_argument(self):
        by_variable = load_settings([], {"MLOPS_INFERENCE_ONLINE_STORE_URL": URL})
        by_argument = load_settings(["--online-store-url", URL], {})
        assert by_variable.online_store() == by_argument.online_store() == ADDRESS

    def test_it_comes_from_a_file_and_then_is_not_among_the_settings(self, tmp_path):
        file = tmp_path / "redis.url"
        file.write_text(f"{URL}\n")
        settings = load_settings([], {"MLOPS_INFERENCE_ONLINE_STORE_URL_FILE": str(file)})
        assert settings.online_store() == ADDRESS
        assert SECRET not in settings.to_json()
        assert Settings.from_json(settings.to_json()).online_store() == ADDRESS

    def test_without_one_there_is_none(self):
        assert load_settings([], {}).online_store() is None

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"URL": f"http://:{SECRET}@cache"}, "online_store_url: the address of Redis cannot be read"),
            ({"URL": f"redis://:{SECRET}@cache:x"}, "online_store_url: the address of Redis cannot be read"),
            ({"URL": URL, "URL_FILE": "/x"}, "give one of them"),
            ({"URL_FILE": "/nowhere/redis.url"}, "--online-store-url-file: No such file"),
        ],
    )
    def test_a_wrong_one_is_told_at_the_start_without_showing_it(self, capsys, given, says):
        with pytest.raises(SystemExit):
            load_settings([], {f"MLOPS_INFERENCE_ONLINE_STORE_{name}": text for name, text in given.items()})
        told = capsys.readouterr().err
        assert says in told
        assert SECRET not in told
