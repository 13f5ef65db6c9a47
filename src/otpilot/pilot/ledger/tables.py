"""The tables as they are in the newest schema version; migrations.py makes them, a test compares the two."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

migrations = Table(
    "otpilot_migrations",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("applied", Double, nullable=False),
)

campaign = Table(
    "campaign",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("plan", JSON, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("started", Double, nullable=False),
    Column("finished", Double),
)

# Bodies apart from trials: seeds and budgets share one, and a status reads none.
configs = Table(
    "configs",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("body", JSON, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("config_hash", Text, ForeignKey("configs.hash"), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("budget", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("round", Integer),
    Column("priority", Integer, nullable=False),
    Column("parent", Integer, ForeignKey("trials.id")),
    Column("rule", Text),
    Column("edits", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("token", Text),
    Column("lease_until", Double),
    Column("process", JSON),
    Column("end_reason", Text, nullable=False),
    Column("exit_code", Integer),
    Column("last_step", Integer),
    Column("score", Double),
    Column("metrics", JSON, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("continues", Integer, ForeignKey("trials.id")),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),
    UniqueConstraint("config_hash", "seed", "budget"),
    UniqueConstraint("name", "seed", "budget"),
    Index("trials_by_state", "state", text("priority DESC"), "id"),
    Index("trials_by_token", "token"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial", Integer, ForeignKey("trials.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("device", Text),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("ended", Double),
    Column("outcome", Text),
    Column("reason", Text, nullable=False),
    UniqueConstraint("trial", "number"),
    Index("attempts_by_token", "token"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, unique=True),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("round", Integer),
    Column("trial", Integer, ForeignKey("trials.id")),
    Column("evidence", JSON, nullable=False),
    Column("time", Double, nullable=False),
)
