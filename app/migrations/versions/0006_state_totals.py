"""Running totals of the jobs in each state that is not well"""

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
    op.get_bind().execute(sa.text(COUNT), {"slots": SLOTS})
