-- The sessions file: one row per incarnation of a worker. It needs no durability over a host
-- crash, because sessions of a previous boot are lost anyway.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE session (
    session_id TEXT PRIMARY KEY,
    worker_id TEXT NOT NULL,
    pool TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    interval_us INTEGER NOT NULL,
    ttl_us INTEGER NOT NULL,
    concurrency INTEGER NOT NULL,
    graphs TEXT NOT NULL,
    version TEXT NOT NULL,
    metrics_address TEXT,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    pid_namespace INTEGER NOT NULL,
    lock_path TEXT,
    lock_inode INTEGER,
    started_at INTEGER NOT NULL,
    beat INTEGER NOT NULL DEFAULT 0,
    beat_at INTEGER NOT NULL,
    -- What this session has seen of the data file, so that an older copy is recognised.
    position INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER,
    evidence TEXT,
    last_sign_at INTEGER,
    silence_us INTEGER,
    ended_by TEXT,
    -- 1 once nothing is left for others to claim from a session that has ended.
    settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX session_live ON session (pool) WHERE state NOT IN ('lost', 'stopped');
CREATE INDEX session_unsettled ON session (session_id)
    WHERE settled = 0 AND state IN ('lost', 'stopped');
CREATE INDEX session_worker ON session (worker_id, started_at);

CREATE TABLE witness (
    store_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);
