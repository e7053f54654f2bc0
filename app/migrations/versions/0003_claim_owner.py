"""Who has taken on a delivery; the index in the order in which they are taken on"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claimed_by", sa.String(length=120), nullable=True))
        batch_op.drop_index("ix_delivery_channel")
        batch_op.create_index("ix_delivery_channel", ["channel_id", "next_attempt_at", "id"])
