-- One row per order: the primary key is what makes a second charge for an order impossible.
-- due_at is set only while a payment must be undone. It has the only index, and so every other update can stay in the
-- row's page (HOT) and costs no index any work.
CREATE TABLE payments (
    order_id UUID PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('pending', 'taken', 'declined', 'voided', 'reversing', 'refunded')),
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    charge_key UUID,
    charge_id TEXT,
    decline_reason TEXT,
    failed_reversals BIGINT NOT NULL,
    due_at BIGINT,
    cause_id UUID,
    cause_traceparent TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (state = 'voided' OR charge_key IS NOT NULL),
    CHECK ((state = 'reversing') = (due_at IS NOT NULL))
) WITH (fillfactor = 70);

CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
