-- A scrape costs by what is there to say: who holds what is read from an index alone, and runs
-- that wait for a successor are found without looking at all that is pending.

DROP INDEX baton_task_held;
CREATE INDEX baton_task_held ON baton_task (session_id, pool, external) WHERE state = 'active';
CREATE INDEX baton_task_vacated ON baton_task (pool, vacated_at)
    WHERE state = 'pending' AND external = 0 AND vacated_at IS NOT NULL;
