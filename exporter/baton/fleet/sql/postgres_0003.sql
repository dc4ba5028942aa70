-- Finished tasks are archived and pruned: their row and the head of their chain stay, so that an
-- epoch is never given out twice; what the counters owe to the rest is a stored fold.

ALTER TABLE baton_task ADD COLUMN pruned smallint NOT NULL DEFAULT 0;
CREATE INDEX baton_task_prunable ON baton_task (ended_at, task_id)
    WHERE state IN ('done', 'failed') AND external = 0 AND pruned = 0;

-- A chain that is being archived, or has been pruned: ``told`` is what a reader knows right before
-- the head that was left.
CREATE TABLE baton_pruned (
    chain text COLLATE "C" PRIMARY KEY,
    task_id text NOT NULL,
    batch text NOT NULL,
    events bigint,
    told text
);
CREATE INDEX baton_pruned_open ON baton_pruned (batch) WHERE told IS NULL;

-- One row: the fold of every event up to ``position``, and the furthest event that was removed.
CREATE TABLE baton_fold (
    one integer PRIMARY KEY CHECK (one = 1),
    position bigint NOT NULL,
    pruned_to bigint NOT NULL,
    chains bigint NOT NULL,
    events bigint NOT NULL,
    fold text NOT NULL
);
