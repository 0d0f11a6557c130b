-- Messages committed with the change that they announce, until the broker has confirmed them.
-- AUTOINCREMENT: a key is never used twice, so that a late delete can't hit a newer row.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    leased_until INTEGER NOT NULL
);

-- The messages that were applied: the guard against applying one twice.
CREATE TABLE inbox (
    source TEXT NOT NULL,
    message_id BLOB NOT NULL,
    type TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (message_id, source)
) WITHOUT ROWID;

-- The answers that were given to requests with an Idempotency-Key.
CREATE TABLE idempotency_keys (
    idempotency_key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    status INTEGER NOT NULL,
    location TEXT,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
