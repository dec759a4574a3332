"""The team's HTTP service, asked over real HTTP."""

import httpx
import pytest
from churn_mlops.models import ChurnPredictor
from churn_mlops.models.inference import to_instances
from test_inference import endpoint

app_module = pytest.importorskip("churn_mlops.serving.app")
TWO_FIELDS = {"tenure": 24, "monthly_charges": 65.5}


@pytest.fixture
def client(serve, model_path):
    with httpx.Client(base_url=serve(app_module.create_app({"CHURN_MODEL_PATH": str(model_path)}))) as client:
        yield client


class TestPredicting:
    def test_answers_from_all_raw_fields_as_the_model_does(self, client, customers, training):
        rows = customers.iloc[[0, 100, 488]]
        expected = ChurnPredictor(training.model).predict(rows)
        for row, answer in zip(to_instances(rows), expected, strict=True):
            response = client.post("/predict", json=row)
            assert response.status_code == 200
            assert response.json() == {
                "churn_probability": pytest.approx(answer.churn_probability),
                "prediction": answer.prediction,
            }

    def test_two_fields_suffice_and_the_rest_is_documented(self, client):
        answer = client.post("/predict", json=TWO_FIELDS)
        assert answer.status_code == 200
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Customer"]
        assert schema["required"] == ["tenure", "monthly_charges"]
        said = {n: p["default"] for n, p in schema["properties"].items() if p.get("default") is not None}
        assert len(said) == 16
        full = TWO_FIELDS | said | {"total_charges": 24 * 65.5}
        assert client.post("/predict", json=full).json() == answer.json()

    def test_a_service_that_is_not_taken_settles_its_options(self, client):
        short = TWO_FIELDS | {"internet_service": "No", "phone_service": 0}
        options = dict.fromkeys(
            ("online_security", "online_backup", "device_protection", "tech_support", "streaming_tv",
             "streaming_movies"), "No internet service",
        )  # fmt: skip
        long = short | options | {"multiple_lines": "No phone service"}
        assert client.post("/predict", json=short).json() == client.post("/predict", json=long).json()


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"tenure": None}, "tenure"),
            ({"tenure": "24"}, "tenure"),
            ({"tenure": -1}, "tenure"),
            ({"tenure": 10**30}, "tenure"),
            ({"monthly_charges": "much"}, "monthly_charges"),
            ({"contract": "Forever"}, "contract"),
            ({"contract": ["One year"]}, "contract"),
            ({"female": 2}, "female"),
            ({"tenur": 3}, "tenur"),
            ({"internet_service": "No", "tech_support": "Yes"}, "tech_support"),
            ({"multiple_lines": "No phone service"}, "multiple_lines"),
        ],
    )
    def test_is_refused_by_the_name_of_its_field(self, client, change, field):
        response = client.post("/predict", json=TWO_FIELDS | change)
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        assert [item["field"] for item in response.json()["errors"]] == [field]

    def test_all_missing_fields_are_named(self, client):
        errors = client.post("/predict", json={}).json()["errors"]
        assert [item["field"] for item in errors] == ["tenure", "monthly_charges"]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b'{"tenure": 24, "monthly_charges": NaN}', 422),
            (b'{"tenure": 24, "monthly_charges": 1e999}', 422),
            (b'{"tenure": 24,', 422),
            (b"", 422),
            (b"null", 422),
            (b"[]", 422),
            (b"\xff", 400),
            (b"[" * 10_000, 400),
            (b'{"tenure": ' + b"1" * 5000 + b"}", 400),
            (b" " * 20_000, 413),
        ],
    )
    def test_that_is_no_customer_is_refused_and_the_service_lives_on(self, client, body, status):
        response = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert response.status_code == status
        assert response.json()["status"] == status
        assert client.post("/predict", json=TWO_FIELDS).status_code == 200

    def test_an_unknown_path_is_a_problem_too(self, client):
        assert client.get("/nothing").json()["status"] == 404


class TestForwarding:
    def test_asks_the_platform_with_its_key(self, serve, training):
        platform = serve(endpoint(ChurnPredictor(training.model)))
        url = serve(app_module.create_app({"CHURN_ENDPOINT": platform, "CHURN_API_KEY": "secret"}))
        assert httpx.get(f"{url}/health").json() == {"status": "ok", "source": "endpoint"}
        answer = httpx.post(f"{url}/predict", json=TWO_FIELDS)
        assert answer.status_code == 200
        assert set(answer.json()) == {"churn_probability", "prediction"}

    @pytest.mark.parametrize(("status", "answered"), [(400, 502), (429, 503), (500, 502), (503, 503)])
    def test_passes_on_that_the_platform_failed(self, serve, status, answered):
        platform = serve(endpoint(status=status, body={}))
        url = serve(app_module.create_app({"CHURN_ENDPOINT": platform, "CHURN_API_KEY": "secret"}))
        answer = httpx.post(f"{url}/predict", json=TWO_FIELDS)
        assert (answer.status_code, answer.json()["title"]) == (answered, "No prediction")

    def test_a_platform_that_is_away_is_503(self, serve):
        nowhere = {"CHURN_ENDPOINT": "http://127.0.0.1:1", "CHURN_API_KEY": "secret"}
        url = serve(app_module.create_app(nowhere))
        assert httpx.post(f"{url}/predict", json=TWO_FIELDS).status_code == 503


class TestStarting:
    @pytest.mark.parametrize(
        "environment",
        [{}, {"CHURN_ENDPOINT": "http://x"}, {"CHURN_ENDPOINT": "http://x", "CHURN_MODEL_PATH": "y"}],
    )
    def test_needs_one_place_to_predict_with(self, environment):
        with pytest.raises(app_module.SettingsError, match="CHURN_"):
            app_module.create_app(environment)

    def test_needs_a_model_that_exists(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            app_module.create_app({"CHURN_MODEL_PATH": str(tmp_path)})
