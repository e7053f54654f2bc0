"""What the pages keep: notes, publication, preferences, rotated keys, message templates, stored settings"""

import sqlalchemy as sa
from alembic import op

import app.db

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = app.db.UtcDateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.add_column(sa.Column("notes", sa.Text(), nullable=True))
        batch_op.add_column(
            sa.Column("is_published", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(sa.Column("public_name", sa.String(length=120), nullable=True))
        batch_op.create_index("ix_job_name", ["name", "id"])
        batch_op.create_index(
            "ix_job_published",
            ["state_rank", "name", "id"],
            postgresql_where=sa.text("is_published"),
            sqlite_where=sa.text("is_published"),
        )
    with op.batch_alter_table("user_account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("language", sa.String(length=8), nullable=True))
        batch_op.add_column(sa.Column("timezone", sa.String(length=60), nullable=True))
        batch_op.add_column(sa.Column("layout", sa.String(length=10), nullable=True))
        batch_op.add_column(
            sa.Column("password_is_initial", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("expires_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("origin_id", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("report", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key_id", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("channel", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tested_at", MOMENT, nullable=True))
    op.create_table(
        "message_template",
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("updated_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("kind", "language"),
    )
    op.create_table(
        "stored_setting",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("updated_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
