"""Writes migration 0001 anew from the tables. Only until the first release; then migrations are added."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from ml_platform.server import schema

MIGRATIONS = Path(schema.__file__).parent / "migrations"


def main() -> None:
    versions = MIGRATIONS / "versions"
    before = {path: path.read_text() for path in versions.glob("*.py")}
    for path in before:
        path.unlink()
    try:
        with create_engine("sqlite://").begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.revision(config, message="initial", autogenerate=True, rev_id="0001")
    finally:
        for path, text in before.items():
            if not path.exists():
                path.write_text(text)


if __name__ == "__main__":
    main()
