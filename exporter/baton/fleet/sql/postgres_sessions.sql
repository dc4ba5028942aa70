-- insert_session: a new incarnation of a worker
INSERT INTO baton_session (
    session_id, worker_id, pool, kind, state, interval_us, ttl_us, concurrency, graphs, version,
    metrics_address, host, pid, start_ticks, boot_id, pid_namespace, lock_path, lock_inode,
    started_at, beat_at
) SELECT %s, %s, %s, %s, 'starting', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, t.at, t.at
FROM (SELECT coalesce(%s, baton_now()) AS at) AS t
ON CONFLICT (session_id) DO NOTHING

-- heartbeat: one write for the whole worker
SELECT accepted, at FROM baton_heartbeat(%s, %s, %s)

-- raise_witness: an epoch is about to be given out; a restored copy must rise above it
UPDATE baton_session SET epoch = greatest(epoch, %s) WHERE session_id = %s AND epoch < %s

-- lose: one conditional update, and final; a clock that stepped back makes no negative silence
UPDATE baton_session SET
    state = 'lost', ended_at = greatest(t.at, beat_at), evidence = %(evidence)s, ended_by = %(by)s,
    last_sign_at = greatest(beat_at, %(last_sign_at)s),
    silence_us = greatest(t.at - beat_at, 0)
FROM (SELECT baton_now() AS at) AS t
WHERE session_id = %(session)s AND state NOT IN ('lost', 'stopped')
    AND (%(beat)s::bigint IS NULL OR beat = %(beat)s)

-- drain: the session takes nothing new
UPDATE baton_session SET state = 'draining'
WHERE session_id = %s AND state IN ('starting', 'idle', 'busy')

-- stop: the session ends by itself
UPDATE baton_session SET
    state = 'stopped', ended_at = greatest(t.at, beat_at), last_sign_at = greatest(t.at, beat_at),
    evidence = NULL, silence_us = 0
FROM (SELECT baton_now() AS at) AS t
WHERE session_id = %s AND state NOT IN ('lost', 'stopped')

-- settle: nothing is left to claim from this session
UPDATE baton_session SET settled = 1 WHERE session_id = %s

-- may_claim: whether a session lives; it is not settled before this transaction has ended
SELECT 1 FROM baton_session
WHERE session_id = %s AND state NOT IN ('lost', 'stopped') FOR KEY SHARE

-- at_rest: the session, unless a transaction that asked may_claim is still open
SELECT 1 FROM baton_session WHERE session_id = %s FOR UPDATE SKIP LOCKED

-- session: one session
SELECT * FROM baton_session WHERE session_id = %s

-- live: the sessions that may hold leases
SELECT * FROM baton_session
WHERE state NOT IN ('lost', 'stopped') AND (%(pool)s::text IS NULL OR pool = %(pool)s)
ORDER BY place

-- alive: the workers whose sessions have shown life within their TTL
SELECT DISTINCT worker_id FROM baton_session
WHERE state NOT IN ('lost', 'stopped') AND baton_now() - beat_at < ttl_us ORDER BY worker_id

-- unsettled: the sessions that ended and may have left tasks behind
SELECT * FROM baton_session WHERE settled = 0 AND state IN ('lost', 'stopped') ORDER BY session_id

-- recent: every live session and those that ended since a moment
SELECT * FROM baton_session
WHERE state NOT IN ('lost', 'stopped') OR ended_at >= %s ORDER BY worker_id, started_at, place

-- witness: the furthest that anybody has seen the store go
SELECT max(position), max(epoch) FROM (
    SELECT position, epoch FROM baton_witness UNION ALL SELECT position, epoch FROM baton_session
) AS seen

-- save_witness: remember it without any session
INSERT INTO baton_witness AS w (store_id, position, epoch)
VALUES (%(store)s, %(position)s, %(epoch)s) ON CONFLICT (store_id) DO UPDATE SET
    position = greatest(w.position, excluded.position), epoch = greatest(w.epoch, excluded.epoch)

-- reset_witness: a restore was accepted
UPDATE baton_witness SET position = %s

-- reset_positions: what earlier sessions saw no longer counts
UPDATE baton_session SET position = least(position, %s)
