-- A scrape does not look at sessions that ended long ago.

CREATE INDEX IF NOT EXISTS session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;
