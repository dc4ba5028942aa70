-- insert_session: a new incarnation of a worker
INSERT INTO session (
    session_id, worker_id, pool, kind, state, interval_us, ttl_us, concurrency, graphs, version,
    metrics_address, host, pid, start_ticks, boot_id, pid_namespace, lock_path, lock_inode,
    started_at, beat_at
) VALUES (?, ?, ?, ?, 'starting', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- heartbeat: one write for the whole worker; no row means the session is over
UPDATE session SET
    beat = beat + 1, beat_at = :at,
    state = CASE state WHEN 'starting' THEN 'idle' ELSE state END,
    position = max(position, :position), epoch = max(epoch, :epoch)
WHERE session_id = :session AND state NOT IN ('lost', 'stopped')

-- raise_witness: an epoch is about to be given out; a restored copy must rise above it
UPDATE session SET epoch = max(epoch, ?) WHERE session_id = ?

-- lose: one conditional update, and final
UPDATE session SET
    state = 'lost', ended_at = :at, evidence = :evidence, ended_by = :by,
    last_sign_at = max(beat_at, coalesce(:last_sign_at, beat_at)), silence_us = :at - beat_at
WHERE session_id = :session AND state NOT IN ('lost', 'stopped')
    AND (:beat IS NULL OR beat = :beat)

-- drain: the session takes nothing new
UPDATE session SET state = 'draining' WHERE session_id = ? AND state IN ('starting', 'idle', 'busy')

-- stop: the session ends by itself
UPDATE session SET
    state = 'stopped', ended_at = :at, last_sign_at = :at, evidence = NULL, silence_us = 0
WHERE session_id = :session AND state NOT IN ('lost', 'stopped')

-- settle: nothing is left to claim from this session
UPDATE session SET settled = 1 WHERE session_id = ?

-- session: one session
SELECT * FROM session WHERE session_id = ?

-- live: the sessions that may hold leases
SELECT * FROM session
WHERE state NOT IN ('lost', 'stopped') AND (:pool IS NULL OR pool = :pool)

-- alive: the workers whose sessions have shown life within their TTL
SELECT DISTINCT worker_id FROM session
WHERE state NOT IN ('lost', 'stopped') AND ? - beat_at < ttl_us ORDER BY worker_id

-- unsettled: the sessions that ended and may have left tasks behind
SELECT * FROM session WHERE settled = 0 AND state IN ('lost', 'stopped')

-- recent: every live session and those that ended since a moment
SELECT * FROM session INDEXED BY session_live WHERE state NOT IN ('lost', 'stopped')
UNION ALL
SELECT * FROM session INDEXED BY session_ended WHERE ended_at >= ? AND ended_at IS NOT NULL
ORDER BY worker_id, started_at

-- witness: the furthest that anybody has seen the data file go
SELECT max(position), max(epoch) FROM (
    SELECT position, epoch FROM witness UNION ALL SELECT position, epoch FROM session
)

-- save_witness: remember it without any session
INSERT INTO witness (store_id, position, epoch) VALUES (:store, :position, :epoch)
    ON CONFLICT DO UPDATE SET
        position = max(position, excluded.position), epoch = max(epoch, excluded.epoch)

-- adopt: these sessions belong to that data file from now on
UPDATE meta SET value = ? WHERE key = 'store_id'

-- reset_witness: a restore was accepted
UPDATE witness SET position = :position

-- reset_positions: what earlier sessions saw no longer counts
UPDATE session SET position = min(position, ?)
