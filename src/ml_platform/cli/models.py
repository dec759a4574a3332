"""`mlops models`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli import governance
from ml_platform.cli.context import Group, Output, document, pairs, platform, show
from ml_platform.cli.output import Format, say, show_parts

if TYPE_CHECKING:
    from ml_platform.contracts.governance import ModelRisk

models = Group("Registered models, their versions and their risk")
risk = Group("The risk questionnaire of a model")
models.add_typer(risk, name="risk")
models.add_typer(governance.card, name="card")
models.command("governed")(governance.governed)
models.command("set-owner")(governance.set_owner)
models.command("reviews")(governance.reviews)
models.command("review")(governance.review)

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="name, name/version or name@alias")]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model")]
_VERSION = [
    "model_id", "name", "version", "aliases", "status", "task", "label", "metrics", "feature_view", "digest",
    "size_bytes", "experiment_id", "job_id", "run_id", "description", "created_by", "created_at",
]  # fmt: skip
_RISK = ["model_name", "score", "level", "answered_by", "answered_at", "review_due_at"]


@models.command("list")
def list_models(output: Output = Format.TABLE) -> None:
    """List models by name."""
    columns = ["name", "latest_version", "aliases", "description", "created_by", "created_at"]
    show(platform().models.list(), output, columns)


@models.command("show")
def show_model(model: ModelId, output: Output = Format.TABLE) -> None:
    """Show a version: what it predicts, how well, where it came from, and what its gate found."""
    found = platform().models.get(model)
    show(found, output, [*_VERSION, "gate", "signature"])


@models.command("signature")
def signature(
    model: ModelId,
    file: Annotated[Path | None, typer.Option(help="Write the Sigstore bundle here")] = None,
    output: Output = Format.JSON,
) -> None:
    """Show what vouches for a version's files: a signature of OpenSSF model signing.

    `model_signing verify key --signature FILE --public_key KEY FOLDER` checks it without the platform.
    """
    found = platform().models.signature(model)
    if file is not None:
        import json

        file.write_text(json.dumps(found.bundle, allow_nan=False))
        say(f"written to {file}")
        return
    show(found, output)


@models.command("signing-key")
def signing_key(
    file: Annotated[Path | None, typer.Option(help="Write the key here, as PEM")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the public key by which signatures of models are checked."""
    found = platform().models.signing_key()
    if file is not None:
        file.write_text(found.public_key)
        say(f"written to {file}")
        return
    show(found, output)


@models.command("versions")
def versions(name: ModelName, output: Output = Format.TABLE) -> None:
    """List the versions of a model, newest first."""
    columns = ["model_id", "version", "aliases", "status", "metrics", "job_id", "created_by", "created_at"]
    show(platform().models.versions(name), output, columns)


@models.command("register")
def register(
    name: ModelName,
    run_id: Annotated[str, typer.Option(help="The MLflow run that logged it")],
    artifact_path: Annotated[
        str | None, typer.Option(help="The logged model's name in the run [its newest]")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column that it predicts")] = None,
    feature_view: Annotated[str | None, typer.Option(help="Features looked up when predicting")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    output: Output = Format.TABLE,
) -> None:
    """Register a model that an MLflow run logged; no gate judges it."""
    details = {"label": label, "feature_view": feature_view, "description": description}
    show(platform().models.register(name, run_id, artifact_path=artifact_path, **details), output, _VERSION)


@models.command("set-alias")
def set_alias(
    name: ModelName,
    alias: str,
    version: Annotated[int, typer.Argument(min=1)],
    output: Output = Format.TABLE,
) -> None:
    """Make NAME@ALIAS mean a version."""
    show(platform().models.set_alias(name, alias, version), output, _VERSION)


@risk.command("show")
def show_risk(name: ModelName, output: Output = Format.TABLE) -> None:
    """Show a model's risk, what evidence raised it, and whose approval production needs."""
    found = platform().models.risk(name)
    show(found, output)
    _tell_raised(found)


@risk.command("assess")
def assess(
    name: ModelName,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            "--answer", "-a", metavar="QUESTION=SCORE:REASON", help="e.g. business_impact=3:why; repeatable"
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="YAML or JSON: {business_impact: {score: 3, reason: why}, ...}")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Answer the five questions about a model's risk.

    They are business_impact, customer_exposure, data_sensitivity, regulatory_scope and explainability, each
    with a score from 0 to 10 and a reason.
    """
    given: dict[str, tuple[int, str]] = {}
    for question, answer in (document(file, "--file") if file is not None else {}).items():
        if not isinstance(answer, dict) or set(answer) != {"score", "reason"}:
            raise typer.BadParameter(f"{question} must have a score and a reason", param_hint="--file")
        given[str(question)] = (answer["score"], str(answer["reason"]))
    for question, text in pairs(answers, "--answer").items():
        score, colon, reason = text.partition(":")
        if not colon or not score.strip().isdigit():
            raise typer.BadParameter(f"{question}={text} is not QUESTION=SCORE:REASON", param_hint="--answer")
        given[question] = (int(score), reason.strip())
    if not given:
        raise typer.BadParameter("the answers are missing: give --answer five times, or --file")
    found = platform().models.assess_risk(name, given)
    show_parts(found, output, [*_RISK, "approval"], {})
    _tell_raised(found)


def _tell_raised(found: "ModelRisk") -> None:
    """Says which answers count for more than was answered, and why."""
    for question, answer in found.assessments.items():
        if answer.answered is not None:
            say(f"{question} counts {answer.score}, not {answer.answered}: {'; '.join(answer.because)}")
