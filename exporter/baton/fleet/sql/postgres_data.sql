-- store_time: the clock of this store
SELECT baton_now()

-- fence: the time and the chain's head; refused with BT001 unless the lease is the task's own
SELECT at, n, hash FROM baton_fence_head(%s, %s, %s)

-- own_chain: a session's chain has one writer at a time
SELECT baton_own_chain(%s)

-- free_chain: the same without waiting; the key is that of baton_own_chain
SELECT pg_try_advisory_xact_lock(
    hashtextextended(current_schema() || '/' || %s, 0) & (1::bigint << 62) - 1)

-- chain_head: the last event of a chain
SELECT n, hash, at FROM baton_event WHERE chain = %s ORDER BY n DESC LIMIT 1

-- last_work: a task's last durable work, or the claim if there was none since
SELECT type, at FROM baton_event
WHERE chain = %s AND type IN ('claimed', 'step', 'effect') ORDER BY n DESC LIMIT 1

-- session_worker: whose session a chain belongs to
SELECT worker_id FROM baton_event WHERE chain = %s ORDER BY n LIMIT 1

-- append: append to a chain; returns the place in the tail
SELECT baton_append(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- append_tasks: the same for many tasks at a time, each to its own chain
SELECT max(baton_append('task:' || c.task_id, s.at, s.wall, s.type, c.task_id, c.run_id, NULL,
    s.worker_id, s.session_id, c.epoch, c.reason, c.payload))
FROM (VALUES (%s::bigint, %s::bigint, %s::text, %s::text, %s::text))
    AS s (at, wall, type, worker_id, session_id),
unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[])
    AS c (task_id, run_id, epoch, reason, payload)

-- step: a super-step with few rows; nothing if the lease is lost, and an error where a row is taken
-- The checkpoint is the fence of the rest: without the lease there is none to stand behind.
WITH fence AS (
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
        checkpoint, metadata)
    SELECT %(task)s, %(ns)s, %(step)s, %(parent)s, %(body)s, %(metadata)s FROM (
        SELECT FROM baton_task
        WHERE task_id = %(task)s AND epoch = %(epoch)s AND session_id = %(session)s
        FOR NO KEY UPDATE
    ) AS held
    RETURNING 1
)

-- step_channels: goes with it
, channels AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(task)s, %(ns)s, c.* FROM fence, (VALUES [rows]) AS c
)

-- step_writes: goes with it
, writes AS (
    INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path,
        idx, channel, type, blob)
    SELECT %(task)s, w.* FROM fence, (VALUES [rows]) AS w
)

-- step_event: ends it, behind an event that is given or found
-- Once the row is ours: first the mark, then the number, as baton_append does; what all marks begin
-- with was asked for once. An event that was given, or found before the row was waited for, may not
-- be the last any more: then (chain, n) is taken. No row but a new one is written here, and
-- ON CONFLICT would cost more.
INSERT INTO baton_event SELECT
    seq, '1.0.0', %(chain)s, n, at, %(wall)s, 'step', %(task)s, %(run)s, %(step)s, %(worker)s,
    %(session)s, %(epoch)s, NULL, %(payload)s, prev,
    encode(sha256(convert_to([encoding], 'UTF8')), 'hex')
FROM (
    SELECT CASE WHEN pg_advisory_xact_lock_shared(%(mark)s
            | (coalesce(pg_sequence_last_value('baton_event_seq'), 0) & 281474976710655))
            IS NOT NULL
        THEN nextval('baton_event_seq') END AS seq,
        greatest(baton_now(), head.at) AS at,
        head.n + 1 AS n, head.hash AS prev
    FROM fence, ([head]) AS head
) AS made
RETURNING seq, at, hash, n

-- step_head_found: the last event of the chain
SELECT n, at, hash FROM baton_event WHERE chain = %(chain)s ORDER BY n DESC LIMIT 1

-- step_head_given: the same, as this connection has seen it
SELECT %(n)s AS n, %(at)s AS at, %(prev)s AS hash

-- step_encoding_found: what is hashed, around what only the server knows
concat(%(before)s, length(n::text), ':', n, ',', length(at::text), ':', at, %(after)s, '64:', prev, ',')

-- step_encoding_given: the same; the place and the hash before are known
concat(%(before)s, length(at::text), ':', at, %(after)s)

-- put: a super-step, whole, whatever it has
SELECT baton_put(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb,
    %s::text[], %b::bytea[], %s::text[], %b::bytea[])

-- write: pending writes without their checkpoint
SELECT baton_write(%s, %s, %s, %s, %s, %s::text[], %b::bytea[])

-- insert_task: a task is accepted, unless there is one of that name
INSERT INTO baton_task (
    task_id, pool, graph, state, external, run_id, input_type, input, input_digest,
    submitted_at, ready_at
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (task_id) DO NOTHING

-- task: one task
SELECT * FROM baton_task WHERE task_id = %s

-- task_locked: one task, and nobody else changes it until this transaction ends
SELECT * FROM baton_task WHERE task_id = %s FOR UPDATE

-- task_free: one task, unless somebody else is at it
SELECT * FROM baton_task WHERE task_id = %s FOR UPDATE SKIP LOCKED

-- tasks_free: of those that are still as they were found, the first that nobody else is at
SELECT t.task_id, t.pool, t.graph, t.state, t.external, t.epoch, t.session_id, t.worker_id, t.run_id,
    NULL AS input, t.input_digest, t.submitted_at, t.ready_at, t.claimed_at, t.ended_at,
    t.wrote_epoch, t.wrote_at, t.fruitless, t.deadline_us, t.vacated_reason, t.vacated_at,
    t.vacated_session, t.vacated_worker, t.vacated_epoch, t.error
FROM unnest(%s::text[], %s::bigint[], %s::text[])
    WITH ORDINALITY AS found (task_id, epoch, state, place)
JOIN baton_task AS t USING (task_id)
WHERE t.epoch = found.epoch AND t.state = found.state
ORDER BY found.place LIMIT %s FOR UPDATE OF t SKIP LOCKED

-- ends: the last event of each chain, and its last durable work or the claim before it
SELECT c.task_id, head.at, work.type, work.at
FROM unnest(%s::text[]) AS c (task_id)
CROSS JOIN LATERAL (
    SELECT at FROM baton_event WHERE chain = 'task:' || c.task_id ORDER BY n DESC LIMIT 1
) AS head
CROSS JOIN LATERAL (
    SELECT type, at FROM baton_event
    WHERE chain = 'task:' || c.task_id AND type IN ('claimed', 'step', 'effect')
    ORDER BY n DESC LIMIT 1
) AS work

-- tasks: a page of tasks, newest first
SELECT * FROM baton_task
WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(pool)s::text IS NULL OR pool = %(pool)s)
ORDER BY submitted_at DESC, task_id LIMIT %(limit)s

-- pending: the oldest tasks that wait for a worker of this pool and graph
SELECT task_id, epoch, state, ready_at FROM baton_task
WHERE state = 'pending' AND external = 0 AND pool = %(pool)s AND graph = %(graph)s
    AND (avoid_session IS DISTINCT FROM %(session)s OR ready_at + %(avoid_us)s <= %(now)s)
ORDER BY ready_at, place LIMIT %(limit)s

-- held: the tasks a session holds
SELECT * FROM baton_task WHERE state = 'active' AND session_id = %s ORDER BY place

-- left_behind: what a session that has ended still holds of a pool's tasks
SELECT task_id, epoch, state, graph FROM baton_task
WHERE state = 'active' AND session_id = %s AND pool = %s AND external = 0 ORDER BY place

-- leaves_any: whether a session still holds a task that workers run
SELECT 1 FROM baton_task WHERE state = 'active' AND session_id = %s AND external = 0 LIMIT 1

-- held_locked: the same, and nobody else changes them until this transaction ends
SELECT * FROM baton_task WHERE state = 'active' AND session_id = %s ORDER BY place FOR UPDATE

-- holders: the sessions that hold tasks; one look for each of them, not for each task
WITH RECURSIVE holder (session_id) AS (
    SELECT min(session_id) FROM baton_task WHERE state = 'active'
    UNION ALL
    SELECT (
        SELECT min(t.session_id) FROM baton_task AS t
        WHERE t.state = 'active' AND t.session_id > holder.session_id
    ) FROM holder WHERE holder.session_id IS NOT NULL
)
SELECT session_id FROM holder WHERE session_id IS NOT NULL

-- stalled: active tasks with a progress deadline, held by others
SELECT task_id, epoch, state FROM baton_task
WHERE state = 'active' AND deadline_us IS NOT NULL AND external = 0
    AND pool = %(pool)s AND graph = %(graph)s AND session_id <> %(session)s
    AND claimed_at + deadline_us < %(now)s
ORDER BY place

-- take: a new epoch and a new holder for each of these; their inputs are read only here
UPDATE baton_task AS t SET
    state = 'active', epoch = t.epoch + 1, session_id = %s, worker_id = %s, claimed_at = %s,
    run_id = c.run_id, ended_at = NULL, fruitless = c.fruitless, deadline_us = c.deadline_us,
    vacated_reason = NULL, vacated_at = NULL, vacated_session = NULL, vacated_worker = NULL,
    vacated_epoch = NULL, avoid_session = NULL, error = NULL
FROM unnest(%s::text[], %s::text[], %s::integer[], %s::bigint[])
    AS c (task_id, run_id, fruitless, deadline_us)
WHERE t.task_id = c.task_id
RETURNING t.task_id, t.input_type, t.input, t.resume_type, t.resume

-- quarantine: nobody takes this task again until an operator says so
UPDATE baton_task SET
    state = 'quarantined', epoch = epoch + 1, session_id = NULL, worker_id = NULL,
    ended_at = %(at)s, fruitless = %(fruitless)s
WHERE task_id = %(task)s

-- vacate: the holder leaves the run unfinished, for another to continue
UPDATE baton_task SET
    state = 'pending', vacated_session = session_id, vacated_worker = worker_id,
    vacated_epoch = epoch, avoid_session = %(avoid)s, session_id = NULL, worker_id = NULL,
    ready_at = %(at)s, vacated_at = %(at)s, vacated_reason = %(reason)s,
    epoch = epoch + %(raise_by)s, fruitless = %(fruitless)s
WHERE task_id = %(task)s

-- finish: the run is over
UPDATE baton_task SET
    state = %(state)s, session_id = NULL, worker_id = NULL, ended_at = %(at)s, error = %(error)s
WHERE task_id = %(task)s

-- reopen: a new run of a task that stands still, which nobody has left unfinished
UPDATE baton_task SET
    state = 'pending', run_id = %(run)s, ready_at = %(at)s, ended_at = NULL, fruitless = 0,
    resume_type = %(resume_type)s, resume = %(resume)s, vacated_reason = NULL, vacated_at = NULL,
    vacated_session = NULL, vacated_worker = NULL, vacated_epoch = NULL, avoid_session = NULL,
    error = NULL
WHERE task_id = %(task)s

-- cancel: an operator ends the task; the epoch rises so that its holder is refused
UPDATE baton_task SET
    state = 'failed', epoch = epoch + 1, session_id = NULL, worker_id = NULL, ended_at = %(at)s,
    error = %(error)s
WHERE task_id = %(task)s

-- raise_epochs: after a restore no writer of the lost time may be believed
UPDATE baton_task SET
    epoch = greatest(epoch, %(above)s) + 1,
    vacated_session = CASE state WHEN 'active' THEN session_id ELSE vacated_session END,
    vacated_worker = CASE state WHEN 'active' THEN worker_id ELSE vacated_worker END,
    vacated_epoch = CASE state WHEN 'active' THEN epoch ELSE vacated_epoch END,
    vacated_reason = CASE state WHEN 'active' THEN 'operator' ELSE vacated_reason END,
    vacated_at = CASE state WHEN 'active' THEN %(at)s ELSE vacated_at END,
    ready_at = CASE state WHEN 'active' THEN %(at)s ELSE ready_at END,
    session_id = NULL, worker_id = NULL,
    state = CASE state WHEN 'active' THEN 'pending' ELSE state END

-- all_task_ids: every task with its run and epoch
SELECT task_id, run_id, epoch FROM baton_task ORDER BY task_id FOR UPDATE

-- effect: the recorded result of an effect
SELECT result_type, result FROM baton_effect WHERE effect_key = %s

-- insert_effect: record a result, once
INSERT INTO baton_effect (
    effect_key, task_id, epoch, session_id, recorded_at, result_type, result
) VALUES (%s, %s, %s, %s, %s, %s, %s)

-- tail: events in the order of their numbers, as far as nothing can come between them any more
SELECT * FROM baton_tail(%s, %s)

-- chain: one chain from its beginning
SELECT * FROM baton_event WHERE chain = %s ORDER BY n

-- mark: what every mark of this store begins with
SELECT baton_mark(0)

-- position: how far the ledger goes
SELECT coalesce(max(seq), 0) FROM baton_event

-- counts: tasks by pool, graph and state
SELECT pool, graph, state, sum(tasks)::bigint FROM baton_task_count
GROUP BY pool, graph, state HAVING sum(tasks) > 0

-- leases: how many tasks each session holds
SELECT session_id, pool, count(*), external FROM baton_task
WHERE state = 'active' GROUP BY session_id, pool, external

-- oldest_pending: since when the oldest task of each pool waits; one look for each queue
SELECT pool, min(ready_at) FROM (
    SELECT c.pool AS pool, (
        SELECT t.ready_at FROM baton_task AS t
        WHERE t.state = 'pending' AND t.external = 0 AND t.pool = c.pool AND t.graph = c.graph
        ORDER BY t.ready_at LIMIT 1
    ) AS ready_at
    FROM (SELECT DISTINCT pool, graph FROM baton_task_count WHERE state = 'pending') AS c
) AS oldest WHERE ready_at IS NOT NULL GROUP BY pool

-- vacated: runs that wait for somebody to continue them
SELECT pool, count(*), min(vacated_at) FROM baton_task
WHERE state = 'pending' AND external = 0 AND vacated_at IS NOT NULL GROUP BY pool

-- delete_checkpoints: forget the checkpoints of a task
DELETE FROM checkpoints WHERE thread_id = %s

-- delete_channels: forget what their channels held
DELETE FROM checkpoint_blobs WHERE thread_id = %s

-- delete_writes: forget the pending writes of a task
DELETE FROM checkpoint_writes WHERE thread_id = %s

-- session_told: how far a session's chain has told its life
SELECT type FROM baton_event
WHERE chain = %s
    AND type IN ('session_started', 'session_draining', 'session_stopped', 'session_lost')
ORDER BY n DESC LIMIT 1

-- begin: a transaction, its time, and the number by which its outcome can be asked for
BEGIN; SELECT baton_now(), pg_current_xact_id()::text

-- outcome: what became of a transaction
SELECT pg_xact_status(%s::text::xid8)

-- prunable: finished tasks that ended before a moment, the longest first
SELECT task_id, ended_at FROM baton_task
WHERE state IN ('done', 'failed') AND external = 0 AND pruned = 0
    AND ended_at < %(before)s AND (ended_at, task_id) > (%(after_at)s, %(after_id)s)
ORDER BY ended_at, task_id LIMIT %(limit)s

-- begin_prune: say into which archive a chain is about to go
INSERT INTO baton_pruned (chain, task_id, batch) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING

-- pruning: what was begun and not finished
SELECT batch, task_id FROM baton_pruned WHERE told IS NULL ORDER BY batch, chain

-- drop_prune: a chain that goes on after all
DELETE FROM baton_pruned WHERE chain = %s AND told IS NULL

-- end_prune: what a reader needs in the place of the events that go
UPDATE baton_pruned SET events = %s, told = %s WHERE chain = %s AND told IS NULL

-- delete_events: the events of a chain before its head
DELETE FROM baton_event WHERE chain = %s AND n < %s

-- delete_effects: what a finished task did and nothing asks for any more
DELETE FROM baton_effect WHERE task_id = %s

-- hollow_task: its name, its epoch and its digest stay
UPDATE baton_task SET pruned = 1, input_type = NULL, input = NULL, resume_type = NULL, resume = NULL
WHERE task_id = %s

-- told: what there is to know right before the head of a pruned chain
SELECT told FROM baton_pruned WHERE chain = %s AND told IS NOT NULL

-- pruned: how far and how much was removed
SELECT pruned_to, chains, events FROM baton_fold WHERE one = 1

-- stored_fold: what the counters owe to everything up to a place
SELECT fold FROM baton_fold WHERE one = 1

-- save_fold: the same, further
INSERT INTO baton_fold AS f (one, position, pruned_to, chains, events, fold)
VALUES (1, %(position)s, 0, 0, 0, %(fold)s) ON CONFLICT (one) DO UPDATE SET
    position = excluded.position, fold = excluded.fold WHERE excluded.position > f.position

-- note_pruned: some more was removed
UPDATE baton_fold SET
    pruned_to = greatest(pruned_to, %s), chains = chains + %s, events = events + %s
