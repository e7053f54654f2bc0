"""Running totals of reports; what the newest run of a job tells of its size; the ways to find that at once"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SLOTS = 16
LARGEST = 2**50

NEWEST = (
    "UPDATE job SET last_report_id = (SELECT report.id FROM report WHERE report.job_id = job.id"
    " AND NOT report.dry_run ORDER BY report.ended_at DESC, report.id DESC LIMIT 1)"
)
SIZES = (
    "UPDATE job SET"
    " stored_bytes = (SELECT CASE WHEN stored_bytes > :largest THEN :largest ELSE stored_bytes END"
    " FROM report WHERE report.id = job.last_report_id),"
    " examined_bytes = (SELECT CASE WHEN examined_bytes > :largest THEN :largest ELSE examined_bytes END"
    " FROM report WHERE report.id = job.last_report_id)"
)
RUNS = (
    "SELECT job_id % :slots, count(*),"
    " coalesce(sum(CASE WHEN uploaded_bytes > :largest THEN :largest ELSE uploaded_bytes END), 0)"
    " FROM report GROUP BY 1"
)
KEPT = (
    "SELECT id % :slots, coalesce(sum(stored_bytes), 0), coalesce(sum(examined_bytes), 0) FROM job GROUP BY 1"
)


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        for name in ("last_report_id", "stored_bytes", "examined_bytes"):
            batch_op.add_column(sa.Column(name, sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_job_last_ended", ["last_ended_at"])
        batch_op.create_index("ix_job_server_ended", ["server_id", "last_ended_at"])
    with op.batch_alter_table("server", schema=None) as batch_op:
        batch_op.create_index("ix_server_name", ["name"])
    sums = op.create_table(
        "report_total",
        sa.Column("slot", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("runs_count", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("examined_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slot"),
    )
    rows = op.get_bind()
    rows.execute(sa.text(NEWEST))
    rows.execute(sa.text(SIZES), {"largest": LARGEST})
    by_slot = {"slots": SLOTS, "largest": LARGEST}
    runs = {slot: (count, size) for slot, count, size in rows.execute(sa.text(RUNS), by_slot)}
    kept = {slot: (stored, examined) for slot, stored, examined in rows.execute(sa.text(KEPT), by_slot)}
    names = ("slot", "runs_count", "uploaded_bytes", "stored_bytes", "examined_bytes")
    nothing = (0, 0)
    values = [(slot, *runs.get(slot, nothing), *kept.get(slot, nothing)) for slot in range(SLOTS)]
    op.bulk_insert(sums, [dict(zip(names, map(int, each), strict=True)) for each in values])
    rows.execute(sa.text("INSERT INTO total (name, value) SELECT 'servers', count(*) FROM server"))
