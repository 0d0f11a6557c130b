-- One row per order: the primary key is what makes a second charge for an order impossible.
-- due_at is set only while a payment must be undone, and has the only index.
CREATE TABLE payments (
    order_id BLOB PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('pending', 'taken', 'declined', 'voided', 'reversing', 'refunded')),
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    charge_key BLOB,
    charge_id TEXT,
    decline_reason TEXT,
    failed_reversals INTEGER NOT NULL,
    due_at INTEGER,
    cause_id BLOB,
    cause_traceparent TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK (state = 'voided' OR charge_key IS NOT NULL),
    CHECK ((state = 'reversing') = (due_at IS NOT NULL))
) WITHOUT ROWID;

CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
