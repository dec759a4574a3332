"""A data scientist, an approver and an auditor at work on the churn model, at every risk, by the CLI alone.

Each follows their how-to word by word (`docs/how-to`), and every block of the three is executed by somebody;
around it stands what everybody is refused. A level's story is told once, in a fixture that keeps what each of
them saw; the tests look at that.
"""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ml_platform.cli.demo.churn import ChurnProject
from tests.docs.markdown import ROOT, RUN
from tests.e2e.company import HOW_TOS, ROLES, TEAM, Company, Person, found_company, how_to, refusal, together
from tests.e2e.conftest import Installation, fresh_environment, mlops
from tests.support.crash import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

REQUEST = "order-4711"
Story = dict[str, Any]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """An installation of their own. Everybody has a key, and the ML engineer has put data and features there."""
    home, folder = tmp_path_factory.mktemp("company"), tmp_path_factory.mktemp("people")
    environment = fresh_environment(home) | {
        "MLOPS_ROLLOUTS__READY_POLL_SECONDS": "0.1",
        "MLOPS_ROLLOUTS__CANARY_POLL_SECONDS": "0.5",
    }
    with ThreadPoolExecutor() as pool:
        exported = pool.submit(ChurnProject(ROOT / "examples" / "churn").export, folder / "build")
        started = mlops(environment, "up", timeout=600)
    try:
        assert started.returncode == 0, started.stderr
        made = found_company(Installation(environment, home / ".mlops", started), folder)
        _put_data_there(made["erin"], exported.result())
        yield made
    finally:
        mlops(environment, "down")


def _put_data_there(erin: Person, tables: dict[str, Path]) -> None:
    view = erin.folder / "profile.yaml"
    view.write_text(
        "name: profile\ndataset: churn-profile\nentities: [customer_id]\ntimestamp_field: event_timestamp\n"
    )
    together(
        [
            lambda: erin.must("datasets", "upload", "churn-profile", str(tables["customer_profile"])),
            lambda: erin.must("datasets", "upload", "churn-labels", str(tables["churn_labels"])),
        ]
    )
    erin.must("features", "create", str(view))
    erin.must("features", "materialize", "profile")


@pytest.fixture(scope="module")
def low(company: Company) -> Story:
    """Dana brings the model to staging alone; at low risk Erin's release needs nobody."""
    dana, erin = company["dana"], company["erin"]
    dana.follow("data-scientist", others={"this one is the ML engineer's": erin})
    production = ("deploy", "--model", "churn/1", "--environment", "production")
    table = dana.folder / "labels.csv"
    table.write_text("customer_id,churn\nC0000001,1\n")
    uploads, deploys, plan, approved, alone = together(
        [
            lambda: dana("datasets", "upload", "churn-labels", str(table)),
            lambda: dana(*production),
            lambda: erin.json(*production, "--plan"),
            lambda: erin.json("approvals", "list", "--status", "approved"),
            lambda: erin.json("deployments", "show", "production/churn"),
        ]
    )
    return {"uploads": uploads, "deploys": deploys, "plan": plan, "approvals": approved, "alone": alone}


@pytest.fixture(scope="module")
def by_hand(company: Company, low: Story) -> Iterator["Future[Story]"]:
    """A version without held-out rows at low risk; it goes its way while the others go theirs."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(_registered_by_hand, company)


def _registered_by_hand(company: Company) -> Story:
    """Nothing shows its quality by itself, so that somebody must."""
    dana, erin = company["dana"], company["erin"]
    told: Story = {}
    [job] = dana.json("jobs", "list")
    dana.must("models", "register", "churn-by-hand", "--run-id", job["run_id"])
    dana.must("models", "card", "set", "churn-by-hand", "1", "--file", "card.yaml")
    told["unanswered"] = erin("deploy", "--model", "churn-by-hand/1", "--environment", "production", "--plan")
    told["assessed"] = company.assess(12, "churn-by-hand")
    asked = erin.ask("churn-by-hand", model="churn-by-hand/1")
    told["manager"] = company["mia"]("approvals", "approve", asked, "--reason", "looks good")
    told["lead"] = company["lena"].json("approvals", "approve", asked, "--reason", "I have seen the run")
    told["led"] = erin("deployments", "wait", "production/churn-by-hand", "--for-approval", "-o", "json")
    return told


@pytest.fixture(scope="module")
def medium(company: Company, low: Story, by_hand: "Future[Story]") -> Story:
    """Four requests: one goes out, one is rejected, one is forgotten, one waits for what comes."""
    erin = company["erin"]
    level = json.loads(company.assess(20).stdout)["level"]
    canary = erin.folder / "canary.yaml"
    canary.write_text("steps: [50, 100]\n")
    first, second, third, stale = together(
        [
            lambda: erin.ask("churn", "--canary", str(canary)),
            lambda: erin.ask("churn-objected"),
            lambda: erin.ask("churn-forgotten"),
            lambda: erin.ask("churn-stale"),
        ]
    )
    told: Story = {"level": level, "stale": stale}
    for part in together(
        [
            lambda: _approved_by_both(company, first),
            lambda: _objected_to(company, second),
            lambda: _forgotten(company, third),
        ]
    ):
        told |= part
    return told


def _approved_by_both(company: Company, request: str) -> Story:
    """And then promoted, and asked for a prediction."""
    erin, mia, sue = company["erin"], company["mia"], company["sue"]
    told: Story = {}
    approve = ("approvals", "approve", request, "--reason")
    told["her own"], told["no seat"], told["no right"], _ = together(
        [
            lambda: erin(*approve, "I made it"),
            lambda: company["leo"](*approve, "legal agrees"),
            lambda: company["dana"](*approve, "I trained it"),
            lambda: mia.follow("approver", filled={"the id is that of the request": {"apr_...": request}}),
        ]
    )
    told["twice"], told["one"] = together(
        [lambda: mia(*approve, "once more"), lambda: mia.json("approvals", "show", request)]
    )
    told["both"] = sue.json(*approve, "Better than what serves")
    eventually(
        lambda: erin.json("deployments", "show", "production/churn")["status"] == "canary",
        within=600,
        what="the canary after the approval",
    )
    erin.must("deployments", "promote", "production/churn")
    told["served"] = erin.json("deployments", "wait", "production/churn")
    one = ("-i", '{"customer_id": "C0000007"}', "--request-id", REQUEST)
    erin.must("deployments", "predict", "production/churn", *one)
    return told


def _objected_to(company: Company, request: str) -> Story:
    erin, mia, sue = company["erin"], company["mia"], company["sue"]
    told: Story = {}
    again = ("deploy", "--model", "churn/1", "--environment", "production", "--name", "churn-objected")
    told["in the way"] = erin(*again)
    sue.do("approver", "a request is decided once", APPROVAL=request)
    told["objection"], told["stopped"], told["too late"] = together(
        [
            lambda: sue.json("approvals", "show", request),
            lambda: erin("deployments", "wait", "production/churn-objected", "--for-approval"),
            lambda: mia("approvals", "approve", request, "--reason", "I like it"),
        ]
    )
    return told


def _forgotten(company: Company, request: str) -> Story:
    sue = company["sue"]
    _let_time_pass(company.installation, request)
    told: Story = {"lapsed": sue("approvals", "approve", request, "--reason", "at last")}
    told["forgotten"] = sue.json("approvals", "show", request)
    company["erin"].must("deployments", "cancel", told["forgotten"]["subject_id"], "--yes")
    return told


@pytest.fixture(scope="module")
def high(company: Company, medium: Story) -> Story:
    """A request from before the risk was answered anew, one that the board decides, one without its chair."""
    erin, before = company["erin"], ("approvals", "approve", medium["stale"], "--reason", "read before")
    told: Story = {"level": json.loads(company.assess(40).stdout)["level"]}
    board, urgent, _, _ = together(
        [
            lambda: erin.ask("churn-board"),
            lambda: erin.ask("churn-urgent"),
            lambda: company["mia"].json(*before)["status"],
            lambda: company["sue"].json(*before)["status"],
        ]
    )
    for part in together(
        [
            lambda: {"stale": erin("deployments", "wait", "production/churn-stale", "--for-approval")},
            lambda: _decided_by_the_board(company, board),
            lambda: _let_through(company, urgent),
        ]
    ):
        told |= part
    told["ids"] = {"approval": board, "rollout": told["four"]["subject_id"]}
    return told


def _decided_by_the_board(company: Company, request: str) -> Story:
    leo, sue = company["leo"], company["sue"]
    told: Story = {}
    agree = ("approvals", "approve", request, "--reason", "evidence read")
    told["manager"], *_ = together(
        [
            lambda: company["mia"](*agree),
            lambda: company["cora"].must(*agree),
            lambda: company["arno"].must(*agree),
            lambda: company["pia"].must(*agree),
        ]
    )
    leo.do("approver", "this one is another member's", APPROVAL=request)
    told["abstains"], told["changes"] = together(
        [lambda: leo.json("approvals", "show", request), lambda: leo(*agree)]
    )
    told["four"] = sue.json(*agree)
    told["out"] = company["erin"]("deployments", "wait", "production/churn-board", "--for-approval")
    return told


def _let_through(company: Company, request: str) -> Story:
    erin, lena, cora = company["erin"], company["lena"], company["cora"]
    told: Story = {}
    agree = ("approvals", "approve", request, "--reason", "evidence read")
    together([lambda name=name: company[name].must(*agree) for name in ("arno", "pia", "leo", "sue")])
    broken = ("approvals", "break-glass", request, "--reason", "now")
    told["chairless"], told["breaks"], told["unasked"] = together(
        [
            lambda: cora.json("approvals", "show", request),
            lambda: erin(*broken, "--yes"),
            lambda: lena(*broken),
        ]
    )
    lena.do("approver", "this one is the team lead's", APPROVAL=request)
    told["urgent"] = erin("deployments", "wait", "production/churn-urgent", "--for-approval")
    review = ("approvals", "review", request, "--verdict", "justified", "--reason", "The fraud was real")
    told["broken"], told["alerts"], told["breaker"], told["asker"], told["seatless"] = together(
        [
            lambda: lena.json("approvals", "show", request),
            lambda: lena.json("alerts", "list", "--status", "open"),
            lambda: lena(*review),
            lambda: erin(*review),
            lambda: company["mia"](*review),
        ]
    )
    cora.do("approver", "this one is the reviewer's", APPROVAL=request)
    told["reviewed"], told["reviewed twice"], told["calm"] = together(
        [
            lambda: cora.json("approvals", "show", request),
            lambda: company["sue"](*review),
            lambda: lena.json("alerts", "list", "--status", "open"),
        ]
    )
    return told


@pytest.fixture(scope="module")
def audited(company: Company, high: Story) -> None:
    """Audra follows her how-to when all of it has happened."""
    audra = company["audra"]
    eventually(
        lambda: audra("lineage", "prediction", REQUEST).returncode == 0,
        within=300,
        what="the prediction in the log",
    )
    audra.follow("auditor", REQUEST=REQUEST)


class TestTheHowTos:
    @pytest.mark.parametrize("name", HOW_TOS)
    def test_every_block_is_executed(self, company: Company, audited: None, name: str) -> None:
        assert how_to(name)
        for block in how_to(name):
            where = f"docs/how-to/{name}.md:{block.line}"
            assert block.language in RUN, f"{where} is no command, nor the output of the block before it"
            assert (name, block.line) in company.executed, f"{where} was not executed"


class TestADataScientist:
    def test_goes_from_data_to_staging_alone(self, company: Company, low: Story) -> None:
        staged = company["dana"].json("deployments", "show", "staging/churn")
        assert (staged["status"], staged["serving_model_id"]) == ("active", "churn/1")

    def test_exports_a_card_that_lacks_nothing(self, company: Company, low: Story) -> None:
        card = company["dana"].json("models", "card", "show", "churn", "1")
        assert card["missing"] == []
        assert "## Intended use" in (company["dana"].folder / "card.md").read_text()

    def test_is_told_who_writes_data(self, low: Story) -> None:
        assert "ml_engineer, team_lead" in refusal(low["uploads"], 4)

    def test_is_told_who_deploys_to_production(self, low: Story) -> None:
        said = refusal(low["deploys"], 4)
        assert "deploy_production" in said
        assert "ml_engineer, team_lead" in said


class TestLowRisk:
    def test_is_not_assumed(self, by_hand: "Future[Story]") -> None:
        planned = by_hand.result()["unanswered"]
        assert planned.returncode == 5
        assert "mlops models risk assess churn-by-hand" in planned.stdout

    def test_counts_no_less_than_what_is_known_of_the_data(self, by_hand: "Future[Story]") -> None:
        assessed = by_hand.result()["assessed"]
        assert (json.loads(assessed.stdout)["score"], json.loads(assessed.stdout)["level"]) == (13, "low")
        assert "data_sensitivity counts 4, not 3: churn-profile@1: female holds gender" in assessed.stderr

    def test_needs_nobody_when_every_check_passes(self, low: Story) -> None:
        assert low["alone"]["status"] == "active"
        [approval] = low["approvals"]
        assert (approval["automatic"], approval["votes"]) == (True, [])

    def test_is_planned_without_approvers(self, low: Story) -> None:
        assert (low["plan"]["allowed"], low["plan"]["approval"]) == (True, None)

    def test_is_the_team_leads_when_a_check_could_not_be_made(self, by_hand: "Future[Story]") -> None:
        told = by_hand.result()
        assert "team_lead" in refusal(told["manager"], 4)
        assert told["lead"]["status"] == "approved"
        assert told["led"].returncode == 0, told["led"].stderr
        assert json.loads(told["led"].stdout)["status"] == "active"


class TestMediumRisk:
    def test_follows_from_the_answers(self, medium: Story) -> None:
        assert medium["level"] == "medium"

    def test_is_never_approved_by_who_asked(self, medium: Story) -> None:
        said = refusal(medium["her own"], 4)
        assert "nobody approves their own request" in said
        assert "manager, senior_data_scientist" in said

    def test_is_not_approved_from_another_seat(self, medium: Story) -> None:
        assert "manager, senior_data_scientist" in refusal(medium["no seat"], 4)
        assert "manager" in refusal(medium["no right"], 4)

    def test_needs_both_and_counts_each_once(self, medium: Story) -> None:
        assert "you voted already" in refusal(medium["twice"], 5)
        assert (medium["one"]["status"], medium["one"]["missing"]) == ("pending", ["senior_data_scientist"])
        assert [vote["voter"] for vote in medium["one"]["votes"]] == ["mia"]
        assert (medium["both"]["status"], medium["both"]["missing"]) == ("approved", [])

    def test_goes_out_as_a_canary_that_is_promoted(self, medium: Story) -> None:
        assert medium["served"]["status"] == "active"

    def test_is_stopped_by_a_no_with_its_reason(self, medium: Story) -> None:
        assert medium["objection"]["status"] == "rejected"
        said = refusal(medium["stopped"], 10)
        assert "sue: The card does not say what happens to customers without contract" in said
        assert "rejected already" in refusal(medium["too late"], 5)

    def test_lapses(self, medium: Story) -> None:
        assert "ask erin to deploy again" in refusal(medium["lapsed"], 5)
        assert medium["forgotten"]["status"] == "lapsed"

    def test_is_asked_for_once_at_a_time(self, medium: Story) -> None:
        said = refusal(medium["in the way"], 5)
        assert "erin is rolling" in said
        assert "mlops deployments cancel rol_" in said


class TestHighRisk:
    def test_makes_approvals_void_that_were_given_on_a_lower_one(self, medium: Story, high: Story) -> None:
        assert (medium["level"], high["level"]) == ("medium", "high")
        said = refusal(high["stale"], 10)
        assert "the approval is void" in said
        assert "asks for a new approval" in said

    def test_is_not_the_managers(self, high: Story) -> None:
        assert "board_chair" in refusal(high["manager"], 4)

    def test_needs_four_also_with_the_chair(self, high: Story) -> None:
        assert high["abstains"]["status"] == "pending"
        verdicts = sorted(vote["verdict"] for vote in high["abstains"]["votes"])
        assert verdicts == ["abstain", "approve", "approve", "approve"]
        assert "you voted already" in refusal(high["changes"], 5)
        assert (high["four"]["status"], high["four"]["missing"]) == ("approved", [])
        assert high["out"].returncode == 0, high["out"].stderr

    def test_needs_the_chair_also_with_four(self, high: Story) -> None:
        assert (high["chairless"]["status"], high["chairless"]["missing"]) == ("pending", ["board_chair"])
        assert len(high["chairless"]["votes"]) == 4


class TestBreakingTheGlass:
    def test_is_the_team_leads_and_asked_twice(self, high: Story) -> None:
        assert "team_lead" in refusal(high["breaks"], 4)
        assert high["unasked"].returncode == 2
        assert "--yes" in high["unasked"].stderr

    def test_is_loud_and_lets_it_out(self, high: Story) -> None:
        assert high["broken"]["glass_broken"]["by"] == "lena"
        assert high["urgent"].returncode == 0, high["urgent"].stderr
        assert [alert["severity"] for alert in _glass(high["alerts"])] == ["critical"]

    def test_is_reviewed_by_somebody_who_had_no_part_in_it(self, high: Story) -> None:
        for who in ("breaker", "asker"):
            assert "neither who asked for it nor who broke the glass" in refusal(high[who], 4)
        assert "board_chair" in refusal(high["seatless"], 4)
        assert high["reviewed"]["glass_broken"]["verdict"] == "justified"
        assert "reviewed it already" in refusal(high["reviewed twice"], 5)
        assert _glass(high["calm"]) == []


class TestAnAuditor:
    def test_checks_an_export_without_the_platform(
        self, company: Company, audited: None, tmp_path: Path
    ) -> None:
        audra = company["audra"]
        key = (audra.folder / "audit.key").read_text().strip()
        lines = (audra.folder / "audit.jsonl").read_text().splitlines(keepends=True)
        exports = {"whole": lines, "cut": lines[:-3], "left out": lines[:5] + lines[6:]}
        for name, kept in exports.items():
            (tmp_path / name).write_text("".join(kept))
        away = {"MLOPS_HOME": str(tmp_path / "nowhere"), "MLOPS_API_URL": "http://127.0.0.1:9"}
        check = ("audit", "verify", "--public-key", key, "--output", "json", "--file")
        done = together([lambda name=name: audra(*check, str(tmp_path / name), **away) for name in exports])
        assert [json.loads(each.stdout)["verified"] for each in done] == [True, False, False]
        assert [each.returncode for each in done] == [0, 1, 1]

    def test_finds_what_was_live_at_each_moment_and_on_whose_approval(
        self, company: Company, high: Story
    ) -> None:
        audra = company["audra"]
        deployment = audra.json("deployments", "show", "production/churn")["deployment_id"]
        moves = audra.json("audit", "list", "--action", "deployment.traffic", "--resource", deployment)
        first = moves[-1]["at"]
        then = audra.json("deployments", "as-of", "production/churn", "--at", first)
        assert then["revisions"][0]["approval"]["automatic"]
        now = ("--at", "2100-01-01T00:00:00Z")
        latest, urgent = together(
            [
                lambda: audra.json("deployments", "as-of", "production/churn", *now),
                lambda: audra.json("deployments", "as-of", "production/churn-urgent", *now),
            ]
        )
        assert latest["revisions"][0]["approval"]["approvers"] == ["mia", "sue"]
        assert urgent["revisions"][0]["approval"]["glass_broken_by"] == "lena"

    def test_finds_every_decision_in_the_log(self, company: Company, high: Story) -> None:
        events = company["audra"].json("audit", "list", "--kind", "approval", "--limit", "500")
        actions = {(event["actor_name"], event["action"]) for event in events}
        assert {
            ("mia", "approval.approve"), ("sue", "approval.reject"), ("leo", "approval.abstain"),
            ("lena", "approval.break_glass"), ("cora", "approval.review"),
        } <= actions  # fmt: skip
        assert ("erin", "approval.approve") not in actions

    def test_changes_nothing(self, company: Company, high: Story) -> None:
        audra, dana = company["audra"], company["dana"]
        tried = [
            ("deploy_staging", ("deploy", "--model", "churn/1")),
            ("deploy_", ("deployments", "rollback", "production/churn")),
            ("approve", ("approvals", "approve", high["ids"]["approval"], "--reason", "for the record")),
            (
                "train_model",
                ("models", "card", "set", "churn", "1", "--file", str(dana.folder / "card.yaml")),
            ),
            ("train_model", ("models", "register", "churn", "--run-id", "0" * 32)),
            ("manage_team", ("teams", "set-member", TEAM, "audra", "--role", "team_lead")),
        ]
        answers = audra.each(call for _, call in tried)
        for (permission, call), done in zip(tried, answers, strict=True):
            assert f"audra may not {permission}" in refusal(done, 4), call


class TestAViewer:
    def test_reads_and_does_nothing_else(self, company: Company, high: Story) -> None:
        vic = company["vic"]
        assert vic.json("deployments", "show", "production/churn")["serving_model_id"] == "churn/1"
        calls = [
            ("deploy", "--model", "churn/1"),
            ("approvals", "approve", high["ids"]["approval"], "--reason", "looks good"),
            ("audit", "list"),
            ("datasets", "head", "churn-profile"),
        ]
        for done in vic.each(calls):
            refusal(done, 4)


class TestAnotherTeam:
    def test_finds_nothing_of_it(self, company: Company, high: Story) -> None:
        olga = company["olga"]
        calls = [
            ("models", "show", "churn/1"),
            ("models", "risk", "show", "churn"),
            ("approvals", "show", high["ids"]["approval"]),
            ("approvals", "approve", high["ids"]["approval"], "--reason", "why not"),
            ("deployments", "show", "production/churn"),
            ("deployments", "rollout", high["ids"]["rollout"]),
            ("lineage", "prediction", REQUEST),
        ]
        for done in olga.each(calls):
            refusal(done, 3)

    def test_has_a_log_of_its_own(self, company: Company, high: Story) -> None:
        events = company["olga"].json("audit", "list", "--limit", "500")
        assert events
        assert not {event["actor_name"] for event in events} & set(ROLES)


def _let_time_pass(installation: Installation, approval_id: str) -> None:
    """Two days in a moment: nothing at a terminal can do this, and no test waits for it."""
    with closing(sqlite3.connect(installation.home / "platform.db", timeout=60)) as database, database:
        changed = database.execute(
            "UPDATE approvals SET expires_at = created_at WHERE id = ?", (approval_id,)
        )
        assert changed.rowcount == 1


def _glass(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [alert for alert in alerts if "broke the glass" in alert["title"]]
