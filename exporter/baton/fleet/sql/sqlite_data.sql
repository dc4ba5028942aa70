-- fence: the chain's head if the writer's lease is still the task's; no row means refused
SELECT e.n, e.hash
FROM baton_task AS t LEFT JOIN baton_event AS e ON e.chain = 'task:' || t.task_id
WHERE t.task_id = ? AND t.epoch = ? AND t.session_id = ?
ORDER BY e.n DESC LIMIT 1

-- fence_only: the same question, for a writer that knows the head already
SELECT 1 FROM baton_task WHERE task_id = ? AND epoch = ? AND session_id = ?

-- chain_head: the last event of a chain
SELECT n, hash, at FROM baton_event WHERE chain = ? ORDER BY n DESC LIMIT 1

-- last_work: a task's last durable work, or the claim if there was none since
SELECT type, at FROM baton_event
WHERE chain = ? AND type IN ('claimed', 'step', 'effect') ORDER BY n DESC LIMIT 1

-- session_worker: whose session a chain belongs to
SELECT worker_id FROM baton_event WHERE chain = ? ORDER BY n LIMIT 1

-- insert_event: append to a chain; a second writer at the same place fails on UNIQUE
INSERT INTO baton_event (
    schema_version, chain, n, at, wall, type, task_id, run_id, step_id,
    worker_id, session_id, epoch, reason, payload, prev, hash
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- insert_checkpoint: LangGraph's own table and columns
INSERT OR REPLACE INTO checkpoints (
    thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
) VALUES (?, ?, ?, ?, ?, ?, ?)

-- insert_write: a node's pending write; the first result of a node stands
INSERT OR IGNORE INTO writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- replace_write: interrupts, errors and resume values; the last one stands
INSERT OR REPLACE INTO writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- note_bare_write: pending writes became durable without an event of their own
UPDATE baton_task SET wrote_epoch = epoch, wrote_at = ? WHERE task_id = ?

-- clear_resume: the value is recorded among LangGraph's writes now
UPDATE baton_task SET resume_type = NULL, resume = NULL WHERE task_id = ?

-- insert_task: a task is accepted, unless there is one of that name
INSERT INTO baton_task (
    task_id, pool, graph, state, external, run_id, input_type, input, input_digest,
    submitted_at, ready_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task_id) DO NOTHING

-- task: one task
SELECT * FROM baton_task WHERE task_id = ?

-- task_as_found: a task without its input, if it is still as a look from outside had it
SELECT task_id, pool, graph, state, external, epoch, session_id, worker_id, run_id,
    NULL AS input, input_digest, submitted_at, ready_at, claimed_at, ended_at, wrote_epoch, wrote_at,
    fruitless, deadline_us, vacated_reason, vacated_at, vacated_session, vacated_worker,
    vacated_epoch, error
FROM baton_task WHERE task_id = ? AND epoch = ? AND state = ?

-- tasks: a page of tasks, newest first
SELECT * FROM baton_task
WHERE (:state IS NULL OR state = :state) AND (:pool IS NULL OR pool = :pool)
ORDER BY submitted_at DESC, task_id LIMIT :limit

-- pending: the oldest tasks that wait for a worker of this pool and graph
SELECT task_id, epoch, state, ready_at FROM baton_task
WHERE state = 'pending' AND external = 0 AND pool = :pool AND graph = :graph
    AND ready_at <= :now
    AND (avoid_session IS NOT :session OR ready_at + :avoid_us <= :now)
ORDER BY ready_at LIMIT :limit

-- held: the tasks a session holds
SELECT * FROM baton_task WHERE state = 'active' AND session_id = ?

-- left_behind: what a session that has ended still holds of a pool's tasks
SELECT task_id, epoch, state, graph FROM baton_task
WHERE state = 'active' AND session_id = ? AND pool = ? AND external = 0

-- leaves_any: whether a session still holds a task that workers run
SELECT 1 FROM baton_task WHERE state = 'active' AND session_id = ? AND external = 0 LIMIT 1

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
    AND pool = :pool AND graph = :graph AND session_id <> :session
    AND claimed_at + deadline_us < :now

-- claim: a new epoch for a new holder
UPDATE baton_task SET
    state = 'active', epoch = epoch + 1, session_id = :session, worker_id = :worker,
    claimed_at = :at, run_id = :run_id, ended_at = NULL, fruitless = :fruitless,
    deadline_us = :deadline_us, vacated_reason = NULL, vacated_at = NULL, vacated_session = NULL,
    vacated_worker = NULL, vacated_epoch = NULL, avoid_session = NULL, error = NULL
WHERE task_id = :task_id

-- given: what a task gives to whoever claimed it
SELECT input_type, input, resume_type, resume FROM baton_task WHERE task_id = ?

-- quarantine: nobody takes this task again until an operator says so
UPDATE baton_task SET
    state = 'quarantined', epoch = epoch + 1, session_id = NULL, worker_id = NULL,
    ended_at = :at, fruitless = :fruitless
WHERE task_id = :task

-- vacate: the holder leaves the run unfinished, for another to continue
UPDATE baton_task SET
    state = 'pending', vacated_session = session_id, vacated_worker = worker_id,
    vacated_epoch = epoch, avoid_session = :avoid, session_id = NULL, worker_id = NULL,
    ready_at = :at, vacated_at = :at, vacated_reason = :reason, epoch = epoch + :raise_by,
    fruitless = :fruitless
WHERE task_id = :task

-- finish: the run is over
UPDATE baton_task SET
    state = :state, session_id = NULL, worker_id = NULL, ended_at = :at, error = :error
WHERE task_id = :task

-- reopen: a new run of a task that stands still, which nobody has left unfinished
UPDATE baton_task SET
    state = 'pending', run_id = :run, ready_at = :at, ended_at = NULL, fruitless = 0,
    resume_type = :resume_type, resume = :resume, vacated_reason = NULL, vacated_at = NULL,
    vacated_session = NULL, vacated_worker = NULL, vacated_epoch = NULL, avoid_session = NULL,
    error = NULL
WHERE task_id = :task

-- cancel: an operator ends the task; the epoch rises so that its holder is refused
UPDATE baton_task SET
    state = 'failed', epoch = epoch + 1, session_id = NULL, worker_id = NULL, ended_at = :at,
    error = :error
WHERE task_id = :task

-- raise_epochs: after a restore no writer of the lost time may be believed
UPDATE baton_task SET
    epoch = max(epoch, :above) + 1,
    vacated_session = CASE state WHEN 'active' THEN session_id ELSE vacated_session END,
    vacated_worker = CASE state WHEN 'active' THEN worker_id ELSE vacated_worker END,
    vacated_epoch = CASE state WHEN 'active' THEN epoch ELSE vacated_epoch END,
    vacated_reason = CASE state WHEN 'active' THEN 'operator' ELSE vacated_reason END,
    vacated_at = CASE state WHEN 'active' THEN :at ELSE vacated_at END,
    ready_at = CASE state WHEN 'active' THEN :at ELSE ready_at END,
    session_id = NULL, worker_id = NULL,
    state = CASE state WHEN 'active' THEN 'pending' ELSE state END

-- all_task_ids: every task with its run and epoch
SELECT task_id, run_id, epoch FROM baton_task ORDER BY task_id

-- effect: the recorded result of an effect
SELECT result_type, result FROM baton_effect WHERE effect_key = ?

-- insert_effect: record a result, once
INSERT INTO baton_effect (
    effect_key, task_id, epoch, session_id, recorded_at, result_type, result
) VALUES (?, ?, ?, ?, ?, ?, ?)

-- tail: events in the order in which they were committed
SELECT seq, schema_version, chain, n, at, wall, type, task_id, run_id, step_id,
    worker_id, session_id, epoch, reason, payload, prev, hash
FROM baton_event WHERE seq > ? ORDER BY seq LIMIT ?

-- chain: one chain from its beginning
SELECT seq, schema_version, chain, n, at, wall, type, task_id, run_id, step_id,
    worker_id, session_id, epoch, reason, payload, prev, hash
FROM baton_event WHERE chain = ? ORDER BY n

-- position: how far the ledger goes
SELECT coalesce(max(seq), 0) FROM baton_event

-- counts: tasks by pool, graph and state
SELECT pool, graph, state, tasks FROM baton_task_count WHERE tasks > 0

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
SELECT pool, count(*), min(vacated_at) FROM baton_task INDEXED BY baton_task_vacated
WHERE state = 'pending' AND external = 0 AND vacated_at IS NOT NULL GROUP BY pool

-- checkpoint_ids: the checkpoints of a task, for verification
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id FROM checkpoints WHERE thread_id = ?

-- delete_checkpoints: forget the checkpoints of a task
DELETE FROM checkpoints WHERE thread_id = ?

-- delete_writes: forget the pending writes of a task
DELETE FROM writes WHERE thread_id = ?

-- session_told: how far a session's chain has told its life
SELECT type FROM baton_event
WHERE chain = ?
    AND type IN ('session_started', 'session_draining', 'session_stopped', 'session_lost')
ORDER BY n DESC LIMIT 1

-- prunable: finished tasks that ended before a moment, the longest first
SELECT task_id, ended_at FROM baton_task
WHERE state IN ('done', 'failed') AND external = 0 AND pruned = 0
    AND ended_at < :before AND (ended_at, task_id) > (:after_at, :after_id)
ORDER BY ended_at, task_id LIMIT :limit

-- begin_prune: say into which archive a chain is about to go
INSERT INTO baton_pruned (chain, task_id, batch) VALUES (?, ?, ?) ON CONFLICT DO NOTHING

-- pruning: what was begun and not finished
SELECT batch, task_id FROM baton_pruned WHERE told IS NULL ORDER BY batch, chain

-- drop_prune: a chain that goes on after all
DELETE FROM baton_pruned WHERE chain = ? AND told IS NULL

-- end_prune: what a reader needs in the place of the events that go
UPDATE baton_pruned SET events = ?, told = ? WHERE chain = ? AND told IS NULL

-- delete_events: the events of a chain before its head
DELETE FROM baton_event WHERE chain = ? AND n < ?

-- delete_effects: what a finished task did and nothing asks for any more
DELETE FROM baton_effect WHERE task_id = ?

-- hollow_task: its name, its epoch and its digest stay
UPDATE baton_task SET pruned = 1, input_type = NULL, input = NULL, resume_type = NULL, resume = NULL
WHERE task_id = ?

-- told: what there is to know right before the head of a pruned chain
SELECT told FROM baton_pruned WHERE chain = ? AND told IS NOT NULL

-- pruned: how far and how much was removed
SELECT pruned_to, chains, events FROM baton_fold WHERE one = 1

-- stored_fold: what the counters owe to everything up to a place
SELECT fold FROM baton_fold WHERE one = 1

-- save_fold: the same, further
INSERT INTO baton_fold AS f (one, position, pruned_to, chains, events, fold)
VALUES (1, :position, 0, 0, 0, :fold) ON CONFLICT (one) DO UPDATE SET
    position = excluded.position, fold = excluded.fold WHERE excluded.position > f.position

-- note_pruned: some more was removed
UPDATE baton_fold SET
    pruned_to = max(pruned_to, ?), chains = chains + ?, events = events + ?
