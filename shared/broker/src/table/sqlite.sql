CREATE TABLE IF NOT EXISTS bindings (
    queue TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    PRIMARY KEY (routing_key, queue)
) WITHOUT ROWID;

-- A row per queue and message. It is delivered when it is due; a lease and a retry make it due later. Each counts `lease`
-- up, so that only the consumer that has the last lease changes the row.
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    lease INTEGER NOT NULL DEFAULT 0,
    history TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (queue, due_at, seq);

CREATE TABLE IF NOT EXISTS dead_letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    message_id BLOB NOT NULL,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    history TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letters_queue ON dead_letters (queue, seq);

-- Every event of the last days, for subscribers that come later.
CREATE TABLE IF NOT EXISTS history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    published_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS history_published ON history (published_at);
