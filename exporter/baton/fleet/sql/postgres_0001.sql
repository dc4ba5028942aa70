-- One schema: sessions, tasks, their ledger, their effects. Checkpoints stay in LangGraph's own
-- tables beside them. Every time is baton_now(): clock_timestamp() in whole microseconds.

CREATE TABLE baton_meta (
    key text PRIMARY KEY,
    value text NOT NULL
);

-- VOLATILE and not now(): a transaction that waited for a lock must not carry the time at which
-- it began to wait.
CREATE FUNCTION baton_now() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- One row per incarnation of a worker.
CREATE TABLE baton_session (
    session_id text COLLATE "C" PRIMARY KEY,
    worker_id text COLLATE "C" NOT NULL,
    pool text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    interval_us bigint NOT NULL,
    ttl_us bigint NOT NULL,
    concurrency integer NOT NULL,
    graphs text NOT NULL,
    version text NOT NULL,
    metrics_address text,
    host text NOT NULL,
    pid bigint NOT NULL,
    start_ticks bigint NOT NULL,
    boot_id text NOT NULL,
    pid_namespace bigint NOT NULL,
    lock_path text,
    lock_inode bigint,
    started_at bigint NOT NULL,
    beat bigint NOT NULL DEFAULT 0,
    beat_at bigint NOT NULL,
    -- What this session has seen of the store, so that an older copy is recognised.
    position bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    ended_at bigint,
    evidence text,
    last_sign_at bigint,
    silence_us bigint,
    ended_by text,
    -- 1 once nothing is left for others to claim from a session that has ended.
    settled smallint NOT NULL DEFAULT 0,
    place bigint GENERATED ALWAYS AS IDENTITY
)
-- A heartbeat changes no indexed column: with room on its page it touches nothing but its row.
WITH (fillfactor = 50);
CREATE INDEX baton_session_live ON baton_session (pool) WHERE state NOT IN ('lost', 'stopped');
CREATE INDEX baton_session_unsettled ON baton_session (session_id)
    WHERE settled = 0 AND state IN ('lost', 'stopped');
CREATE INDEX baton_session_worker ON baton_session (worker_id, started_at);

CREATE TABLE baton_witness (
    store_id text PRIMARY KEY,
    position bigint NOT NULL,
    epoch bigint NOT NULL
);

CREATE TABLE baton_task (
    task_id text COLLATE "C" PRIMARY KEY,
    pool text COLLATE "C" NOT NULL,
    graph text COLLATE "C" NOT NULL,
    state text NOT NULL,
    external smallint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    session_id text COLLATE "C",
    worker_id text COLLATE "C",
    run_id text NOT NULL,
    input_type text,
    input bytea,
    input_digest text,
    resume_type text,
    resume bytea,
    submitted_at bigint NOT NULL,
    ready_at bigint NOT NULL,
    claimed_at bigint,
    ended_at bigint,
    -- The last durable write that left no event: pending writes flushed without their put.
    wrote_epoch bigint,
    wrote_at bigint,
    fruitless integer NOT NULL DEFAULT 0,
    deadline_us bigint,
    -- Who left the run unfinished, when a pending task is a run to be continued.
    vacated_reason text,
    vacated_at bigint,
    vacated_session text,
    vacated_worker text,
    vacated_epoch bigint,
    -- The session that an operator's takeover keeps out for a TTL.
    avoid_session text,
    error text,
    place bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX baton_task_pending ON baton_task (pool, graph, ready_at, place)
    WHERE state = 'pending' AND external = 0;
CREATE INDEX baton_task_held ON baton_task (session_id) WHERE state = 'active';
CREATE INDEX baton_task_deadline ON baton_task (pool, graph)
    WHERE state = 'active' AND deadline_us IS NOT NULL;
CREATE INDEX baton_task_troubled ON baton_task (state) WHERE state IN ('failed', 'quarantined');
CREATE INDEX baton_task_submitted ON baton_task (submitted_at DESC, task_id);

-- Counts kept by triggers, so that a scrape costs by what is there to say, not by history. Each
-- backend counts in rows of its own: two that claimed and finished at once would otherwise wait
-- for each other's commits, and in the wrong order forever.
CREATE TABLE baton_task_count (
    pool text COLLATE "C" NOT NULL,
    graph text COLLATE "C" NOT NULL,
    state text NOT NULL,
    slot integer NOT NULL,
    tasks bigint NOT NULL,
    PRIMARY KEY (pool, graph, state, slot)
) WITH (fillfactor = 50);

CREATE FUNCTION baton_count(p_pool text, p_graph text, p_state text, p_by integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO baton_task_count AS c VALUES (
        p_pool, p_graph, p_state, pg_backend_pid() % 1024, p_by
    ) ON CONFLICT (pool, graph, state, slot) DO UPDATE SET tasks = c.tasks + p_by
$$;

CREATE FUNCTION baton_task_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM baton_count(old.pool, old.graph, old.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM baton_count(new.pool, new.graph, new.state, 1);
        IF new.state = 'pending' AND new.external = 0 THEN
            PERFORM pg_notify('baton_wake', new.pool);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER baton_task_inserted AFTER INSERT OR DELETE ON baton_task
    FOR EACH ROW EXECUTE FUNCTION baton_task_changed();
CREATE TRIGGER baton_task_moved AFTER UPDATE OF state ON baton_task
    FOR EACH ROW WHEN (old.state <> new.state) EXECUTE FUNCTION baton_task_changed();

-- What a lost session held is there for others at once.
CREATE FUNCTION baton_session_lost() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('baton_wake', new.pool);
    RETURN NULL;
END
$$;
CREATE TRIGGER baton_session_lost AFTER UPDATE OF state ON baton_session
    FOR EACH ROW WHEN (new.state = 'lost') EXECUTE FUNCTION baton_session_lost();

-- UNIQUE (chain, n) is the compare-and-swap of a chain: two writers cannot both be next.
CREATE SEQUENCE baton_event_seq;
CREATE TABLE baton_event (
    seq bigint PRIMARY KEY,
    schema_version text NOT NULL,
    chain text COLLATE "C" NOT NULL,
    n bigint NOT NULL,
    at bigint NOT NULL,
    wall bigint NOT NULL,
    type text NOT NULL,
    task_id text,
    run_id text,
    step_id text,
    worker_id text,
    session_id text,
    epoch bigint,
    reason text,
    payload text NOT NULL,
    prev text NOT NULL,
    hash text NOT NULL,
    UNIQUE (chain, n)
);

CREATE TABLE baton_effect (
    effect_key text COLLATE "C" PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    session_id text NOT NULL,
    recorded_at bigint NOT NULL,
    result_type text NOT NULL,
    result bytea NOT NULL
);
CREATE INDEX baton_effect_task ON baton_effect (task_id);

-- The encoding of an event: netstrings, whose lengths count bytes of UTF-8, and "-," for a field
-- that is absent. In one expression, because it is computed for every super-step of every run.
CREATE FUNCTION baton_encoding(
    p_version text, p_chain text, p_n bigint, p_at bigint, p_wall bigint, p_type text,
    p_task text, p_run text, p_step text, p_worker text, p_session text, p_epoch bigint,
    p_reason text, p_payload text, p_prev text
) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN octet_length(p_version) || ':' || p_version || ','
        || octet_length(p_chain) || ':' || p_chain || ','
        || length(p_n::text) || ':' || p_n::text || ','
        || length(p_at::text) || ':' || p_at::text || ','
        || length(p_wall::text) || ':' || p_wall::text || ','
        || octet_length(p_type) || ':' || p_type || ','
        || coalesce(octet_length(p_task) || ':' || p_task || ',', '-,')
        || coalesce(octet_length(p_run) || ':' || p_run || ',', '-,')
        || coalesce(octet_length(p_step) || ':' || p_step || ',', '-,')
        || coalesce(octet_length(p_worker) || ':' || p_worker || ',', '-,')
        || coalesce(octet_length(p_session) || ':' || p_session || ',', '-,')
        || coalesce(length(p_epoch::text) || ':' || p_epoch::text || ',', '-,')
        || coalesce(octet_length(p_reason) || ':' || p_reason || ',', '-,')
        || octet_length(p_payload) || ':' || p_payload || ','
        || octet_length(p_prev) || ':' || p_prev || ',';
END
$$;

-- A writer marks the place of the tail behind which its events will stand, until it ends. Marks
-- are advisory locks: they cost no write, every backend sees them, and none outlives its writer.
CREATE FUNCTION baton_mark(p_seq bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN 1::bigint << 62 | (hashtext(current_schema())::bigint & 16383) << 48
        | (p_seq & 281474976710655);
END
$$;

-- Append to a chain, which the caller has to itself: by the task's row, or by baton_own_chain.
CREATE FUNCTION baton_append(
    p_chain text, p_at bigint, p_wall bigint, p_type text, p_task text, p_run text, p_step text,
    p_worker text, p_session text, p_epoch bigint, p_reason text, p_payload text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint;
    v_at bigint;
    v_prev text;
    v_seq bigint;
    v_done text;
BEGIN
    SELECT e.n + 1, greatest(p_at, e.at), e.hash INTO v_n, v_at, v_prev
        FROM baton_event AS e WHERE e.chain = p_chain ORDER BY e.n DESC LIMIT 1;
    IF NOT FOUND THEN
        v_n := 0;
        v_at := p_at;
        v_prev := repeat('0', 64);
    END IF;
    -- First the mark, then the number: a reader that does not see the mark gets along without it.
    -- Assigned and not performed: an expression is evaluated at a fraction of a statement's cost.
    v_done := pg_advisory_xact_lock_shared(
        baton_mark(coalesce(pg_sequence_last_value('baton_event_seq'), 0)));
    v_seq := nextval('baton_event_seq');
    INSERT INTO baton_event VALUES (
        v_seq, '1.0.0', p_chain, v_n, v_at, p_wall, p_type, p_task, p_run, p_step, p_worker,
        p_session, p_epoch, p_reason, p_payload, v_prev,
        encode(sha256(convert_to(baton_encoding('1.0.0', p_chain, v_n, v_at, p_wall, p_type,
            p_task, p_run, p_step, p_worker, p_session, p_epoch, p_reason, p_payload, v_prev),
            'UTF8')), 'hex'));
    RETURN v_seq;
END
$$;

-- The place behind which no event can appear any more. A writer whose mark is not there takes
-- its number later than this reads the last one; one whose mark is there numbers above it. The
-- order of the three steps is what makes this true, so the events are read in a later statement.
CREATE FUNCTION baton_tail_end() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_last bigint := coalesce(pg_sequence_last_value('baton_event_seq'), 0);
    v_mark bigint;
BEGIN
    SELECT min(key & 281474976710655) INTO v_mark FROM (
        SELECT classid::bigint << 32 | objid::bigint AS key FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS held WHERE key >> 48 = baton_mark(0) >> 48;
    RETURN least(v_last, v_mark);
END
$$;

CREATE FUNCTION baton_tail(p_after bigint, p_limit bigint) RETURNS SETOF baton_event
LANGUAGE plpgsql AS $$
DECLARE
    v_end bigint := baton_tail_end();
BEGIN
    -- A new statement of a volatile function sees what was committed before it began.
    RETURN QUERY SELECT * FROM baton_event
        WHERE seq > p_after AND seq <= v_end ORDER BY seq LIMIT p_limit;
END
$$;

-- A session's chain has no row that its writers could lock: its heartbeats would wait for them.
CREATE FUNCTION baton_own_chain(p_chain text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/' || p_chain, 0) & (1::bigint << 62) - 1)
$$;

-- The fence: the row is locked until the end of the transaction, then compared; equality, never
-- time. What a waiter for the row sees is what was committed meanwhile.
CREATE FUNCTION baton_fence(p_task text, p_epoch bigint, p_session text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM baton_task
        WHERE task_id = p_task AND epoch = p_epoch AND session_id = p_session FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'task % is not at epoch % of session %', p_task, p_epoch, p_session
            USING ERRCODE = 'BT001';
    END IF;
END
$$;

CREATE FUNCTION baton_fence_head(
    p_task text, p_epoch bigint, p_session text, OUT at bigint, OUT n bigint, OUT hash text
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM baton_fence(p_task, p_epoch, p_session);
    SELECT e.at, e.n, e.hash INTO at, n, hash FROM baton_event AS e
        WHERE e.chain = 'task:' || p_task ORDER BY e.n DESC LIMIT 1;
    at := greatest(baton_now(), at);
END
$$;

-- A super-step: fence and event. With p_again the writer does not know whether it has been here
-- before, because the answer was lost on its way; then the event is not written twice.
CREATE FUNCTION baton_fence_step(
    p_task text, p_epoch bigint, p_session text, p_run text, p_worker text, p_step text,
    p_payload text, p_wall bigint, p_again boolean
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_fenced text := baton_fence(p_task, p_epoch, p_session);
    v_seq bigint;
BEGIN
    IF p_again THEN
        SELECT seq INTO v_seq FROM baton_event
            WHERE chain = 'task:' || p_task AND epoch = p_epoch AND type = 'step'
                AND step_id = p_step;
        IF FOUND THEN
            RETURN v_seq;
        END IF;
    END IF;
    RETURN baton_append('task:' || p_task, baton_now(), p_wall, 'step', p_task, p_run, p_step,
        p_worker, p_session, p_epoch, NULL, p_payload);
END
$$;

-- LangGraph's pending writes: the first result of a node stands, unless p_replace says otherwise.
-- Each row of p_text is namespace, checkpoint, call, path, index, channel and type: one array of
-- two dimensions, since every array that a function is given costs it more than a row does.
CREATE FUNCTION baton_insert_writes(
    p_task text, p_replace boolean, p_text text[], p_blob bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_replace THEN
        INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path,
            idx, channel, type, blob)
        SELECT p_task, p_text[i][1], p_text[i][2], p_text[i][3], p_text[i][4],
            p_text[i][5]::integer, p_text[i][6], p_text[i][7], p_blob[i]
        FROM generate_series(1, cardinality(p_blob)) AS i
        ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
            SET channel = excluded.channel, type = excluded.type, blob = excluded.blob;
    ELSE
        INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path,
            idx, channel, type, blob)
        SELECT p_task, p_text[i][1], p_text[i][2], p_text[i][3], p_text[i][4],
            p_text[i][5]::integer, p_text[i][6], p_text[i][7], p_blob[i]
        FROM generate_series(1, cardinality(p_blob)) AS i
        ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING;
    END IF;
END
$$;

-- Pending writes without their checkpoint, in one statement and so in one flush.
CREATE FUNCTION baton_write(
    p_task text, p_epoch bigint, p_session text, p_resume boolean, p_replace boolean,
    p_text text[], p_blob bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM baton_fence(p_task, p_epoch, p_session);
    PERFORM baton_insert_writes(p_task, p_replace, p_text, p_blob);
    IF p_resume THEN
        -- The value is recorded among LangGraph's writes now.
        UPDATE baton_task SET wrote_epoch = epoch, wrote_at = baton_now(), resume_type = NULL,
            resume = NULL WHERE task_id = p_task;
    ELSE
        UPDATE baton_task SET wrote_epoch = epoch, wrote_at = baton_now() WHERE task_id = p_task;
    END IF;
END
$$;

-- A super-step whole: fence, event, pending writes, channels and checkpoint. One statement, and
-- so one flush and one commit: a process that is frozen has sent it, or has not begun. Each row of
-- p_channels is a channel, its version and its type.
CREATE FUNCTION baton_put(
    p_task text, p_epoch bigint, p_session text, p_run text, p_worker text, p_step text,
    p_payload text, p_wall bigint, p_again boolean,
    p_ns text, p_parent text, p_body jsonb, p_metadata jsonb,
    p_channels text[], p_blobs bytea[], w_text text[], w_blob bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint := baton_fence_step(p_task, p_epoch, p_session, p_run, p_worker, p_step,
        p_payload, p_wall, p_again);
    v_done text;
BEGIN
    IF cardinality(w_blob) > 0 THEN
        v_done := baton_insert_writes(p_task, false, w_text, w_blob);
    END IF;
    IF cardinality(p_blobs) > 0 THEN
        INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
        SELECT p_task, p_ns, p_channels[i][1], p_channels[i][2], p_channels[i][3], p_blobs[i]
        FROM generate_series(1, cardinality(p_blobs)) AS i
        ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING;
    END IF;
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
        checkpoint, metadata)
    VALUES (p_task, p_ns, p_step, p_parent, p_body, p_metadata)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
        SET checkpoint = excluded.checkpoint, metadata = excluded.metadata;
    RETURN v_seq;
END
$$;

-- A heartbeat: one statement, one row. The session is over if nothing was accepted.
CREATE FUNCTION baton_heartbeat(
    p_session text, p_position bigint, p_epoch bigint, OUT accepted boolean, OUT at bigint
) LANGUAGE plpgsql AS $$
BEGIN
    at := baton_now();
    UPDATE baton_session SET
        beat = beat + 1, beat_at = greatest(beat_at, at),
        state = CASE state WHEN 'starting' THEN 'idle' ELSE state END,
        position = greatest(position, p_position), epoch = greatest(epoch, p_epoch)
    WHERE session_id = p_session AND state NOT IN ('lost', 'stopped');
    accepted := FOUND;
END
$$;
