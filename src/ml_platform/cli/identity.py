"""`mlops login | whoami`, `teams`, `users`, `keys`."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from ml_platform.cli.context import Group, Output, Yes, confirm, platform, show
from ml_platform.cli.output import Format, say, show_parts

teams = Group("Teams and their members")
users = Group("People and service accounts")
keys = Group("API keys")


class QuotaLimit(StrEnum):
    """What a quota bounds."""

    DEPLOYMENTS = "deployments"
    REPLICAS = "replicas"
    CPU = "cpu"
    MEMORY_MB = "memory_mb"


RoleOption = Annotated[list[str] | None, typer.Option("--role", "-r", help="May be given several times")]


def login(
    url: Annotated[
        str | None, typer.Option(envvar="MLOPS_API_URL", help="Address of the platform [the profile's]")
    ] = None,
    team: Annotated[str | None, typer.Option(help="Team to work in")] = None,
    web: Annotated[bool, typer.Option("--web", help="Print a one-time link for the browser")] = False,
) -> None:
    """Keep a key in the profile, or open a browser session with --web.

    The key is asked for, or read from standard input when that is not a terminal.
    """
    from ml_platform.sdk import Platform
    from ml_platform.sdk.config import read_profile, write_profile

    if web:
        sys.stdout.write(platform().identity.create_sign_in_link().url + "\n")
        return
    profile = read_profile()
    address = url or profile.get("url")
    if not address and not sys.stdin.isatty():
        raise typer.BadParameter("say where the platform is", param_hint="--url")
    address = address or typer.prompt("Address of the platform", err=True)
    key = typer.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise typer.BadParameter("no key was given: type it, or send it on standard input")
    with Platform(url=address, key=key, team=team) as there:
        me = there.identity.whoami()
    path = write_profile({"url": address, "key": key, "team": team})
    say(f"signed in as {me.name} in team {me.team}; the key is in {path}")


def whoami(output: Output = Format.TABLE) -> None:
    """Say whose key this is, in which team, and what it may do there."""
    show(platform().identity.whoami(), output)


@teams.command("create")
def create_team(name: str, description: str | None = None, output: Output = Format.TABLE) -> None:
    """Make a team."""
    show(platform().identity.create_team(name, description), output)


@teams.command("limit")
def limit_team(
    name: str,
    rate: Annotated[
        float | None, typer.Argument(min=1, help="Predictions a second of all its keys; none: no limit")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Bound a team's predictions a second, or take the bound away."""
    show(platform().identity.limit_team(name, rate), output)


@teams.command("quota")
def show_quota(output: Output = Format.TABLE) -> None:
    """Show what the team's deployments may take, and what they take now."""
    show_parts(platform().deployments.quota(), output, ["team"], {"limits": ["name", "limit", "used"]})


@teams.command("set-quota")
def set_quota(
    name: str,
    deployments: Annotated[int | None, typer.Option(min=0, help="Most endpoints")] = None,
    replicas: Annotated[int | None, typer.Option(min=0, help="Most copies of all of them")] = None,
    cpu: Annotated[float | None, typer.Option(min=0, help="Most cores of those copies")] = None,
    memory_mb: Annotated[int | None, typer.Option(min=0, help="Most MiB of those copies")] = None,
    default: Annotated[
        list[QuotaLimit] | None,
        typer.Option(help="The installation's own limit for this again; repeatable"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Bound what the deployments of a team take together; what is not named stays."""
    given = {"deployments": deployments, "replicas": replicas, "cpu": cpu, "memory_mb": memory_mb}
    limits: dict[str, float | None] = {key: value for key, value in given.items() if value is not None}
    limits |= dict.fromkeys((limit.value for limit in default or []), None)
    if not limits:
        raise typer.BadParameter("name a limit: --deployments, --replicas, --cpu, --memory-mb or --default")
    show(platform().identity.set_quota(name, **limits), output)


@teams.command("set-session-idle")
def set_session_idle(
    name: str,
    minutes: Annotated[
        int | None, typer.Argument(min=5, max=10_080, help="Minutes; none: 8 hours again")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """End browser sessions of a team's members that are unused for so long."""
    show(platform().identity.set_session_idle(name, minutes), output)


@teams.command("list")
def list_teams(output: Output = Format.TABLE) -> None:
    """List the teams that one is in; an administrator sees all."""
    show(
        platform().identity.list_teams(), output, ["name", "description", "requests_per_second", "created_at"]
    )


@teams.command("members")
def list_members(team: Annotated[str | None, typer.Argument()] = None, output: Output = Format.TABLE) -> None:
    """List who is in a team, and with which roles."""
    here = platform()
    show(here.identity.list_members(team or here.identity.whoami().team), output, ["user_name", "roles"])


@teams.command("set-member")
def set_member(team: str, user: str, role: RoleOption = None, output: Output = Format.TABLE) -> None:
    """Replace a user's roles in a team; without --role the user leaves it."""
    show(platform().identity.set_member(team, user, role or []), output)


@users.command("create")
def create_user(
    name: str,
    display_name: str | None = None,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator of the installation")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a user, who can do nothing before being a member of a team."""
    show(platform().identity.create_user(name, display_name=display_name, admin=admin), output)


@users.command("list")
def list_users(output: Output = Format.TABLE) -> None:
    """List users."""
    show(platform().identity.list_users(), output, ["name", "display_name", "admin", "active", "created_at"])


@users.command("deactivate")
def deactivate_user(name: str, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Refuse a user's keys and sessions from now on."""
    confirm(f"Deactivate {name}?", yes=yes)
    show(platform().identity.set_user_active(name, active=False), output)


@users.command("activate")
def activate_user(name: str, output: Output = Format.TABLE) -> None:
    """Take a user's keys again."""
    show(platform().identity.set_user_active(name, active=True), output)


@keys.command("create")
def create_key(
    name: str,
    user: Annotated[str | None, typer.Option(help="For another member of the team")] = None,
    role: RoleOption = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650)] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Most predictions a second with this key")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a key; the token is shown this once."""
    key = platform().identity.create_key(
        name, user=user, roles=role, expires_in_days=expires_in_days, requests_per_second=rate
    )
    show(key, output)


@keys.command("list")
def list_keys(output: Output = Format.TABLE) -> None:
    """List keys, without their tokens."""
    columns = [
        "key_id",
        "name",
        "user_name",
        "roles",
        "requests_per_second",
        "created_at",
        "expires_at",
        "revoked_at",
    ]
    show(platform().identity.list_keys(), output, columns)


@keys.command("revoke")
def revoke_key(key_id: str, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Refuse a key from now on; inference servers follow within two seconds."""
    confirm(f"Revoke {key_id}?", yes=yes)
    show(platform().identity.revoke_key(key_id), output)
