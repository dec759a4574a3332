"""Predicting from a local model and from an endpoint, and drifted traffic."""

import json

import pandas as pd
import pytest
from churn_mlops.data import validate
from churn_mlops.data.schema import FEATURE_NAMES
from churn_mlops.drift import drift, population_stability_index
from churn_mlops.models import ChurnPredictor, EndpointError
from churn_mlops.models.inference import to_instances

DRIFTING = {"contract", "tenure", "monthly_charges", "total_charges"}


def endpoint(predictor=None, status=200, body=None):
    """An ASGI app that speaks the prediction protocol as the platform does, answering from a real model."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        content = b""
        while True:
            message = await receive()
            content += message["body"]
            if not message.get("more_body"):
                break
        key = dict(scope["headers"]).get(b"authorization")
        answer = body
        if answer is None:
            found = predictor.predict(json.loads(content)["instances"])
            answer = {"predictions": [item.churn_probability for item in found]}
        code = status if key == b"Bearer secret" else 401
        await send({"type": "http.response.start", "status": code, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    return app


class TestLocalModel:
    def test_predicts_for_tables_and_for_mappings(self, customers, training, model_path):
        predictor = ChurnPredictor.from_path(model_path)
        rows = customers.head(20)
        answers = predictor.predict(rows)
        assert answers == predictor.predict(rows.to_dict("records"))
        assert [a.churn_probability for a in answers] == training.model.predict_proba(rows)[:, 1].tolist()
        assert [a.prediction for a in answers] == training.model.predict(rows).tolist()

    def test_names_missing_columns(self, customers, training):
        with pytest.raises(ValueError, match="columns are missing: contract"):
            ChurnPredictor(training.model).predict(customers.head(1).drop(columns="contract"))

    def test_cannot_look_features_up(self, training):
        with pytest.raises(NotImplementedError, match="feature store"):
            ChurnPredictor(training.model).predict_ids(["C0000001"])


class TestEndpoint:
    def test_answers_as_the_local_model(self, customers, training, serve):
        local = ChurnPredictor(training.model)
        with ChurnPredictor.from_endpoint(serve(endpoint(local)), "secret") as remote:
            assert remote.predict(customers.head(10)) == local.predict(customers.head(10))

    def test_reads_pairs_of_probabilities_too(self, serve):
        url = serve(endpoint(body={"predictions": [[0.25, 0.75]]}))
        with ChurnPredictor.from_endpoint(url, "secret") as remote:
            (answer,) = remote.predict_ids(["C0000001"])
        assert (answer.churn_probability, answer.prediction) == (0.75, 1)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"predictions": []}, "0 predictions for 1 rows"),
            ({"predictions": [1.5]}, "something else than probabilities"),
            ({"predictions": ["yes"]}, "something else than probabilities"),
            ({"outputs": []}, "something else than probabilities"),
            ([], "something else than probabilities"),
        ],
    )
    def test_refuses_answers_that_are_no_probabilities(self, customers, serve, body, message):
        with (
            ChurnPredictor.from_endpoint(serve(endpoint(body=body)), "secret") as remote,
            pytest.raises(EndpointError, match=message),
        ):
            remote.predict(customers.head(1))

    def test_tells_status_and_reason_of_a_refusal(self, customers, serve):
        url = serve(endpoint(body={"detail": "unknown key"}))
        with (
            ChurnPredictor.from_endpoint(url, "wrong") as remote,
            pytest.raises(EndpointError, match=r"401: .*unknown key") as caught,
        ):
            remote.predict(customers.head(1))
        assert caught.value.status == 401

    def test_tells_when_nobody_answers(self, customers):
        with (
            ChurnPredictor.from_endpoint("http://127.0.0.1:1/v1/models/churn:predict", "secret") as remote,
            pytest.raises(EndpointError, match="cannot be reached"),
        ):
            remote.predict(customers.head(1))


class TestInstances:
    def test_are_strict_json_of_the_raw_columns(self, customers):
        rows = json.loads(json.dumps(to_instances(customers.head(3)), allow_nan=False))
        assert [list(row) for row in rows] == [list(FEATURE_NAMES)] * 3
        assert isinstance(rows[0]["tenure"], int)
        assert pd.DataFrame(rows)["total_charges"].tolist() == customers["total_charges"].head(3).tolist()

    @pytest.mark.parametrize("value", [None, float("inf")])
    def test_refuse_what_json_cannot_say(self, customers, value):
        with pytest.raises(ValueError, match="total_charges: blank or infinite"):
            to_instances(customers.head(1).assign(total_charges=value))


class TestDrift:
    def test_moves_four_columns_far_and_no_other_at_all(self, customers):
        drifted = drift(customers)
        moved = {n: population_stability_index(customers[n], drifted[n]) for n in FEATURE_NAMES}
        assert {name for name, psi in moved.items() if psi > 0.25} == DRIFTING
        assert all(psi == 0 for name, psi in moved.items() if name not in DRIFTING)

    def test_without_strength_nothing_changes(self, customers):
        kept = drift(customers, strength=0)
        assert kept.equals(customers[kept.columns])

    def test_grows_with_its_strength(self, customers):
        weak, strong = (
            population_stability_index(customers["contract"], drift(customers, strength)["contract"])
            for strength in (0.3, 0.9)
        )
        assert 0 < weak < strong

    def test_is_valid_unlabelled_and_the_same_for_any_subset(self, customers):
        drifted = drift(customers)
        assert "churn" not in drifted
        assert validate(drifted) is drifted
        assert drift(customers.iloc[100:200]).equals(drifted.iloc[100:200].reset_index(drop=True))

    def test_raises_the_expected_churn(self, customers, training):
        before = training.model.predict_proba(customers)[:, 1].mean()
        assert training.model.predict_proba(drift(customers))[:, 1].mean() > before + 0.05

    def test_refuses_a_strength_out_of_range(self, customers):
        with pytest.raises(ValueError, match="strength"):
            drift(customers, 1.1)
