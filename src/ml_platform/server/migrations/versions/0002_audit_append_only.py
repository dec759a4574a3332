"""The audit log is append-only in the database itself: events leave it behind an anchor alone, when they are old."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSAL = "audit events are append-only"
_YOUNG = "audit events within their retention are not removed"
_FIXED = ("audit_anchors", "audit_kept_events")
_ANCHORED = "SELECT 1 FROM audit_anchors a WHERE OLD.sequence <= a.sequence AND OLD.at < a.before"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _upgrade_sqlite()
    else:
        _upgrade_postgresql()


def _upgrade_sqlite() -> None:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events {refuse}")
    op.execute(
        "CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events "
        f"WHEN NOT EXISTS ({_ANCHORED}) {refuse}"
    )
    op.execute(
        "CREATE TRIGGER audit_anchors_age BEFORE INSERT ON audit_anchors WHEN NEW.retention_days < 1 "
        "OR NEW.before > strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || NEW.retention_days || ' days') "
        f"BEGIN SELECT RAISE(ABORT, '{_YOUNG}'); END"
    )
    for table in _FIXED:
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {refuse}")


def _upgrade_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN IF EXISTS ({_ANCHORED}) THEN RETURN OLD; END IF; END IF; "
        f"RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE FUNCTION audit_anchors_age() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.retention_days < 1 OR NEW.before > now() - make_interval(days => NEW.retention_days) THEN "
        f"RAISE EXCEPTION '{_YOUNG}'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events "
        "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
    )
    op.execute(
        "CREATE TRIGGER audit_anchors_age BEFORE INSERT ON audit_anchors "
        "FOR EACH ROW EXECUTE FUNCTION audit_anchors_age()"
    )
    for table in _FIXED:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
        )
    for table in ("audit_events", *_FIXED):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_anchors_age")
        for table in ("audit_events", *_FIXED):
            op.execute(f"DROP TRIGGER {table}_no_update")
            op.execute(f"DROP TRIGGER {table}_no_delete")
        return
    op.execute("DROP TRIGGER audit_anchors_age ON audit_anchors")
    for table in ("audit_events", *_FIXED):
        op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    for function in ("audit_events_refuse", "audit_refuse", "audit_anchors_age"):
        op.execute(f"DROP FUNCTION {function}")
