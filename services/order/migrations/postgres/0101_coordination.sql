ALTER TABLE orders ADD COLUMN coordination TEXT NOT NULL DEFAULT 'choreography';
-- The card's opaque token, until nobody will ask for a charge: only where the order service has it charged by a command.
ALTER TABLE orders ADD COLUMN card_token TEXT;
-- Why a person has declared an order settled that could not be undone.
ALTER TABLE orders ADD COLUMN resolution TEXT;

-- What the order service has had others do: each step of an order once, however often it was asked for.
-- `due_at`: when it is asked for again, or given up; none once it is answered, or where nobody will ask.
-- `parked_at`: since when a person should look at it.
CREATE TABLE steps (
    order_id UUID NOT NULL,
    step TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    due_at BIGINT,
    parked_at BIGINT,
    error TEXT,
    answer TEXT,
    answered_at BIGINT,
    PRIMARY KEY (order_id, step)
);
CREATE INDEX steps_due ON steps (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX steps_open ON steps (asked_at) WHERE answered_at IS NULL;
CREATE INDEX steps_parked ON steps (parked_at) WHERE parked_at IS NOT NULL AND answered_at IS NULL;
