-- Messages committed with the change that they announce, until the broker has confirmed them.
-- Rows come and go by the thousand: vacuum early, and leave no index but the key to keep up to date.
CREATE TABLE outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    routing_key TEXT NOT NULL,
    body BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The messages that were applied: the guard against applying one twice.
CREATE TABLE inbox (
    source TEXT NOT NULL,
    message_id UUID NOT NULL,
    type TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    replays BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (message_id, source)
);

-- The answers that were given to requests with an Idempotency-Key.
CREATE TABLE idempotency_keys (
    idempotency_key TEXT PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    status INTEGER NOT NULL,
    location TEXT,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
