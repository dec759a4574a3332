"""Where traces go: our own settings, and OpenTelemetry's."""

import subprocess
import sys

import pytest

from ml_platform.inference.settings import Settings, load_settings
from ml_platform.inference.traces.keeper import TraceKeeper
from ml_platform.server.local.children import Child, children_of
from ml_platform.server.settings import Settings as PlatformSettings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
URL = "http://collector:4318"


def loaded(*arguments: str, **environ: str) -> Settings:
    return load_settings(arguments, environ)


def arguments(child: Child) -> list[str]:
    return child.command[child.command.index("ml_platform.inference.main") + 1 :]


class TestStandardVariables:
    def test_name_the_collector(self):
        assert loaded(**{ENDPOINT: URL}).traces_endpoint == f"{URL}/v1/traces"
        assert loaded(**{ENDPOINT: f"{URL}/otlp/"}).traces_endpoint == f"{URL}/otlp/v1/traces"
        exact = loaded(**{ENDPOINT: URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other/at"})
        assert exact.traces_endpoint == "https://other/at"

    def test_say_what_is_sent_along(self):
        found = loaded(
            **{
                ENDPOINT: URL,
                "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=lab,service.name=named",
            }
        )
        assert found.traces_headers == "api-key=a%20b"
        assert (found.traces_compression, found.traces_ca_file) == ("gzip", "/etc/ca.pem")
        assert found.traces_service == "named"
        assert loaded(**{ENDPOINT: URL, "OTEL_SERVICE_NAME": "mine"}).traces_service == "mine"

    @pytest.mark.parametrize(
        ("sampler", "argument", "ratio", "follow"),
        [
            ("always_on", "", 1, False),
            ("always_off", "", 0, False),
            ("traceidratio", "0.25", 0.25, False),
            ("parentbased_always_on", "", 1, True),
            ("parentbased_always_off", "", 0, True),
            ("parentbased_traceidratio", "0.5", 0.5, True),
            ("parentbased_traceidratio", "", 1, True),
            ("parentbased_traceidratio", "nonsense", -1, True),
            ("unknown", "", -1, True),
        ],
    )
    def test_choose_the_sampler(self, sampler, argument, ratio, follow):
        found = loaded(**{ENDPOINT: URL, "OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})
        assert (found.traces_ratio, found.traces_follow) == (ratio, follow)

    @pytest.mark.parametrize(
        "environ",
        [
            {"OTEL_SDK_DISABLED": "true", ENDPOINT: URL},
            {"OTEL_TRACES_EXPORTER": "none", ENDPOINT: URL},
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", ENDPOINT: URL},
            {ENDPOINT: "collector:4317"},
            {ENDPOINT: ""},
            {"OTEL_SERVICE_NAME": "alone"},
            {},
        ],
    )
    def test_can_say_that_nothing_is_sent(self, environ):
        assert loaded(**environ).traces_endpoint == ""

    def test_come_after_our_own(self):
        standard = {ENDPOINT: URL, "OTEL_TRACES_SAMPLER": "always_off"}
        mine = loaded(
            **standard, MLOPS_INFERENCE_TRACES_RATIO="0.5", MLOPS_INFERENCE_TRACES_ENDPOINT="http://mine"
        )
        assert (mine.traces_endpoint, mine.traces_ratio, mine.traces_follow) == ("http://mine", 0.5, False)
        assert loaded("--traces-endpoint=", **standard).traces_endpoint == ""


class TestOurOwn:
    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("traces_endpoint", "ftp://somewhere/", "is not an http"),
            ("traces_endpoint", "http://user:hidden@somewhere/", "secrets go into traces_headers"),
            ("traces_headers", "hidden", "expected name=value"),
            ("traces_headers", "name=hid%0Aden", "'name' is no header"),
            ("traces_ratio", 1.5, "from 0 to 1"),
            ("traces_per_second", 0.0, "above 0"),
            ("traces_compression", "zip", "none, gzip"),
            ("traces_ca_file", "/nowhere.pem", "cannot be read"),
        ],
    )
    def test_that_cannot_work_are_refused_without_showing_a_secret(self, option, value, message):
        with pytest.raises(ValueError, match=message) as refused:
            TraceKeeper(Settings(**{"traces_endpoint": URL, option: value}))
        assert "hid" not in str(refused.value).replace("nowhere", "")

    def test_of_the_platform_reach_the_inference_server(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLOPS_INFERENCE__TRACES__ENDPOINT", URL)
        monkeypatch.setenv("MLOPS_INFERENCE__TRACES__HEADERS", "key=secret")
        monkeypatch.setenv("MLOPS_INFERENCE__TRACES__RATIO", "0.125")
        (child,) = (c for c in children_of(PlatformSettings(home=tmp_path)) if c.name == "inference")
        assert not any("key=secret" in argument for argument in child.command)
        found = load_settings(arguments(child), child.environment)
        assert found.traces_endpoint == URL
        assert (found.traces_headers, found.traces_ratio) == ("key=secret", 0.125)

    def test_that_are_not_given_leave_the_standard_ones_alone(self, tmp_path):
        (child,) = (c for c in children_of(PlatformSettings(home=tmp_path)) if c.name == "inference")
        found = load_settings(arguments(child), child.environment | {ENDPOINT: URL})
        assert found.traces_endpoint == f"{URL}/v1/traces"


class TestImports:
    def test_a_worker_never_imports_what_writes_spans(self):
        code = (
            "import sys, ml_platform.inference.worker, ml_platform.inference.supervisor\n"
            "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))]"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
