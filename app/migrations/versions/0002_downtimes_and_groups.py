"""Leases, signs of life, downtimes, maintenance windows, grouped messages, fallback channels"""

import sqlalchemy as sa
from alembic import op

import app.db

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "downtime",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("began_at", app.db.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", app.db.UtcDateTime(timezone=True), nullable=True),
        sa.Column("told_at", app.db.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("began_at"),
    )
    with op.batch_alter_table("downtime", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_downtime_ended_at"), ["ended_at"], unique=False)

    op.create_table(
        "heartbeat",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("beat_at", app.db.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("expires_at", app.db.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "maintenance_window",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("server_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("starts_at", app.db.UtcDateTime(timezone=True), nullable=True),
        sa.Column("ends_at", app.db.UtcDateTime(timezone=True), nullable=True),
        sa.Column("weekdays", sa.String(length=30), nullable=True),
        sa.Column("start_time", sa.String(length=5), nullable=True),
        sa.Column("duration_minutes", sa.Integer(), nullable=True),
        sa.Column("zone", sa.String(length=60), nullable=False),
        sa.Column("created_at", app.db.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["server_id"], ["server.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("group_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.add_column(sa.Column("routed_at", app.db.UtcDateTime(timezone=True), nullable=True))
        batch_op.alter_column("job_id", existing_type=sa.INTEGER(), nullable=True)
        batch_op.create_index(
            "ix_alert_group",
            ["group_id", "job_id"],
            unique=False,
            postgresql_where=sa.text("group_id IS NOT NULL"),
            sqlite_where=sa.text("group_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_alert_unrouted",
            ["id"],
            unique=False,
            postgresql_where=sa.text("routed_at IS NULL"),
            sqlite_where=sa.text("routed_at IS NULL"),
        )
        batch_op.create_foreign_key("fk_alert_group", "alert", ["group_id"], ["id"], ondelete="SET NULL")

    with op.batch_alter_table("channel", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("fallback_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.add_column(sa.Column("failing_since_at", app.db.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("last_error", sa.Text(), nullable=True))
        batch_op.create_foreign_key(
            "fk_channel_fallback", "channel", ["fallback_id"], ["id"], ondelete="SET NULL"
        )

    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fallback_for", sa.String(length=120), nullable=True))
        batch_op.alter_column("job_id", existing_type=sa.BIGINT(), nullable=True)
        batch_op.drop_index(batch_op.f("ix_delivery_alert"))
        batch_op.create_index(
            "ix_delivery_groups",
            ["channel_id", "id"],
            unique=False,
            postgresql_where=sa.text("job_id IS NULL AND next_attempt_at IS NOT NULL"),
            sqlite_where=sa.text("job_id IS NULL AND next_attempt_at IS NOT NULL"),
        )
        batch_op.create_unique_constraint("uq_delivery_alert_channel", ["alert_id", "channel_id"])

    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.add_column(sa.Column("acknowledged_at", app.db.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("acknowledged_until_at", app.db.UtcDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("acknowledged_by", sa.String(length=80), nullable=True))
        batch_op.add_column(
            sa.Column("downtime_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.create_index(
            "ix_job_downtime",
            ["downtime_id"],
            unique=False,
            postgresql_where=sa.text("downtime_id IS NOT NULL"),
            sqlite_where=sa.text("downtime_id IS NOT NULL"),
        )
        batch_op.create_foreign_key(
            "fk_job_downtime", "downtime", ["downtime_id"], ["id"], ondelete="SET NULL"
        )

    with op.batch_alter_table("task_run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("holder", sa.String(length=120), nullable=False, server_default=""))
    # What is stored already had its deliveries made with it.
    op.execute(sa.text("UPDATE alert SET routed_at = created_at"))
