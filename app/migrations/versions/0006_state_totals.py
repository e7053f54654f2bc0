"""Running totals of the jobs in each state that is not well; indexes for two orders of the first page"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SLOTS = 16
COUNT = (
    "INSERT INTO total (name, value) SELECT 'state:' || state || ':' || (id % :slots), count(*)"
    " FROM job WHERE state <> 'ok' GROUP BY 1"
)


def upgrade() -> None:
    for name, column in (("ix_job_last_good", "last_good_at"), ("ix_job_expected", "expected_at")):
        is_postgresql = op.get_bind().dialect.name == "postgresql"
        first = sa.text(f"{column} NULLS FIRST") if is_postgresql else column
        op.create_index(name, "job", [first, "id"])
    op.get_bind().execute(sa.text(COUNT), {"slots": SLOTS})
