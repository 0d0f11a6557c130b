CREATE TABLE IF NOT EXISTS bindings (
    queue TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    PRIMARY KEY (routing_key, queue)
);

-- A row per queue and message. It is delivered when it is due; a lease and a retry make it due later. Each counts `lease`
-- up, so that only the consumer that has the last lease changes the row.
CREATE TABLE IF NOT EXISTS deliveries (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    body BYTEA NOT NULL,
    due_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    lease BIGINT NOT NULL DEFAULT 0,
    history TEXT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (queue, due_at, seq);

CREATE TABLE IF NOT EXISTS dead_letters (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue TEXT NOT NULL,
    message_id UUID NOT NULL,
    routing_key TEXT NOT NULL,
    body BYTEA NOT NULL,
    history TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letters_queue ON dead_letters (queue, seq);

-- Every event of the last days, for subscribers that come later.
CREATE TABLE IF NOT EXISTS history (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    routing_key TEXT NOT NULL,
    body BYTEA NOT NULL,
    published_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS history_published ON history (published_at);
