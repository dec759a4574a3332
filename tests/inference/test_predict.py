"""Predictions over V1, from a real server."""

import pytest

from .support.control import endpoint, revision, snapshot


class TestPredict:
    def test_answers_as_the_trained_pipeline_does(self, control, make_server, churn):
        wanted = snapshot(1, endpoint(revision(churn.bundle)))
        control.publish(wanted)
        server = make_server().start()
        status = server.has_applied(wanted)
        assert status.revision_state("rev-1") == ("ready", None)
        response = server.predict(churn.instances(5))
        assert response.status_code == 200, response.text
        assert response.json()["predictions"] == pytest.approx(churn.expected(5), abs=1e-5)
        assert response.headers["mlops-revision"] == "rev-1"
