"""The server's codes and the SDK's exceptions, by one table."""

import builtins

import pytest

from ml_platform.cli import main as cli
from ml_platform.contracts.problems import ErrorCode
from ml_platform.sdk import Platform, PlatformError, errors
from tests.sdk.conftest import Answers

_CLASSES = [
    found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, PlatformError)
]


class TestTheTable:
    @pytest.mark.parametrize("code", list(ErrorCode))
    def test_every_code_has_its_exception(self, code: ErrorCode) -> None:
        assert code in errors.TABLE
        assert errors.error_class(code.value, 500) is errors.TABLE[code]

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (400, errors.InvalidInputError),
            (401, errors.AuthenticationError),
            (403, errors.AccessDeniedError),
            (404, errors.NotFoundError),
            (409, errors.ConflictError),
            (418, errors.InvalidInputError),
            (429, errors.LimitExceededError),
            (500, errors.ServerError),
            (503, errors.UnavailableError),
        ],
    )
    def test_a_code_of_a_newer_server_falls_back_on_the_status(
        self, status: int, expected: type[PlatformError]
    ) -> None:
        assert errors.error_class("invented_tomorrow", status) is expected
        assert errors.error_class(None, status) is expected

    def test_python_users_find_the_bases_that_they_expect(self) -> None:
        assert issubclass(errors.AccessDeniedError, builtins.PermissionError)
        assert issubclass(errors.InvalidInputError, builtins.ValueError)
        assert issubclass(errors.WaitTimeoutError, builtins.TimeoutError)
        assert issubclass(errors.NotFoundError, builtins.LookupError)
        assert issubclass(errors.ConnectionFailedError, builtins.ConnectionError)

    @pytest.mark.parametrize("kind", _CLASSES, ids=lambda kind: kind.__name__)
    def test_every_exit_code_is_documented(self, kind: type[PlatformError]) -> None:
        documented = (cli.__doc__ or "").partition("Exit codes: ")[2].replace("\n", " ")
        assert f"; {kind.exit_code} " in f"; {documented}"


class TestAnError:
    def test_carries_what_the_server_said(self, platform_of_answers: Platform, answers: Answers) -> None:
        problem = {
            "code": "invalid_input", "detail": "name: too long", "hint": "shorten it", "request_id": "req_1",
            "errors": [{"field": "name", "message": "too long"}],
        }  # fmt: skip
        answers.add(422, problem)
        with pytest.raises(ValueError, match=r"name: too long \(shorten it\)") as raised:
            platform_of_answers.create_experiment("x")
        error = raised.value
        assert isinstance(error, errors.InvalidInputError)
        assert (error.code, error.hint, error.request_id) == ("invalid_input", "shorten it", "req_1")
        assert [(f.field, f.message) for f in error.fields] == [("name", "too long")]

    @pytest.mark.parametrize(
        "body", [b"", b"<html>Bad Gateway</html>", b"[]", b'{"errors": 3}', b'{"errors": [{"colour": 1}]}']
    )
    def test_a_body_that_is_no_problem_is_still_an_error(
        self, platform_of_answers: Platform, answers: Answers, body: bytes
    ) -> None:
        answers.add(500, body)
        with pytest.raises(errors.ServerError, match="500"):
            platform_of_answers.identity.whoami()

    def test_an_error_of_the_inference_server_keeps_its_text(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        answers.add(400, {"error": "column 'tenure' is missing"})
        with pytest.raises(errors.InvalidInputError, match="column 'tenure' is missing"):
            platform_of_answers.models.list()
