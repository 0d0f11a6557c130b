-- One row per mail that an order leads to: the claim on sending it, and then the fact that it was sent. No addresses.
-- `message_id` is the message that first asked for the mail: every repetition carries the same Message-ID.
-- `claimed_by` is one process handling one message, none after a failure; times are microseconds since 1970.
-- Each row is written twice: room is left on the page for the second time.
CREATE TABLE mails (
    order_id UUID NOT NULL,
    kind TEXT NOT NULL,
    message_id UUID NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'failed', 'sent')),
    claimed_by UUID,
    claimed_at BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    sent_at BIGINT,
    PRIMARY KEY (order_id, kind)
) WITH (fillfactor = 70);
