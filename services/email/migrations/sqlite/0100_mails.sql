-- One row per mail that an order leads to: the claim on sending it, and then the fact that it was sent. No addresses.
-- `message_id` is the message that first asked for the mail: every repetition carries the same Message-ID.
-- `claimed_by` is one process handling one message, none after a failure; times are microseconds since 1970.
CREATE TABLE mails (
    order_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    message_id BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'failed', 'sent')),
    claimed_by BLOB,
    claimed_at INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    sent_at INTEGER,
    PRIMARY KEY (order_id, kind)
) WITHOUT ROWID;
