-- The data file: tasks, their ledger, their effects. Checkpoints stay in LangGraph's own tables.

CREATE TABLE baton_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Store time is CLOCK_BOOTTIME plus an offset fixed once per boot, so that it never steps
-- within a boot and never runs back over a restart.
CREATE TABLE baton_boot (
    boot_id TEXT PRIMARY KEY,
    offset_us INTEGER NOT NULL
);

CREATE TABLE baton_task (
    task_id TEXT PRIMARY KEY,
    pool TEXT NOT NULL,
    graph TEXT NOT NULL,
    state TEXT NOT NULL,
    external INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    session_id TEXT,
    worker_id TEXT,
    run_id TEXT NOT NULL,
    input_type TEXT,
    input BLOB,
    input_digest TEXT,
    resume_type TEXT,
    resume BLOB,
    submitted_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    claimed_at INTEGER,
    ended_at INTEGER,
    -- The last durable write that left no event: pending writes flushed without their put.
    wrote_epoch INTEGER,
    wrote_at INTEGER,
    fruitless INTEGER NOT NULL DEFAULT 0,
    deadline_us INTEGER,
    -- Who left the run unfinished, when a pending task is a run to be continued.
    vacated_reason TEXT,
    vacated_at INTEGER,
    vacated_session TEXT,
    vacated_worker TEXT,
    vacated_epoch INTEGER,
    -- The session that an operator's takeover keeps out for a TTL.
    avoid_session TEXT,
    error TEXT
);
CREATE INDEX baton_task_pending ON baton_task (pool, graph, ready_at)
    WHERE state = 'pending' AND external = 0;
CREATE INDEX baton_task_held ON baton_task (session_id) WHERE state = 'active';
CREATE INDEX baton_task_deadline ON baton_task (pool, graph)
    WHERE state = 'active' AND deadline_us IS NOT NULL;
CREATE INDEX baton_task_troubled ON baton_task (state) WHERE state IN ('failed', 'quarantined');

-- Counts kept by triggers, so that a scrape costs by what is there to say, not by history.
CREATE TABLE baton_task_count (
    pool TEXT NOT NULL,
    graph TEXT NOT NULL,
    state TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (pool, graph, state)
) WITHOUT ROWID;
CREATE TRIGGER baton_task_inserted AFTER INSERT ON baton_task BEGIN
    INSERT INTO baton_task_count VALUES (new.pool, new.graph, new.state, 1)
        ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER baton_task_moved AFTER UPDATE OF state ON baton_task
WHEN old.state <> new.state BEGIN
    UPDATE baton_task_count SET tasks = tasks - 1
        WHERE pool = old.pool AND graph = old.graph AND state = old.state;
    INSERT INTO baton_task_count VALUES (new.pool, new.graph, new.state, 1)
        ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER baton_task_deleted AFTER DELETE ON baton_task BEGIN
    UPDATE baton_task_count SET tasks = tasks - 1
        WHERE pool = old.pool AND graph = old.graph AND state = old.state;
END;

-- UNIQUE (chain, n) is the compare-and-swap of a chain: two writers cannot both be next.
CREATE TABLE baton_event (
    seq INTEGER PRIMARY KEY,
    schema_version TEXT NOT NULL,
    chain TEXT NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    type TEXT NOT NULL,
    task_id TEXT,
    run_id TEXT,
    step_id TEXT,
    worker_id TEXT,
    session_id TEXT,
    epoch INTEGER,
    reason TEXT,
    payload TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (chain, n)
);

CREATE TABLE baton_effect (
    effect_key TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    result_type TEXT NOT NULL,
    result BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX baton_effect_task ON baton_effect (task_id);
