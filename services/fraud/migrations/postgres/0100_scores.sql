-- Every order that was placed, and how much it looks like fraud. `customer` is a hash of the address.
CREATE TABLE scores (
    order_id UUID PRIMARY KEY,
    customer BYTEA NOT NULL,
    score BIGINT NOT NULL,
    reasons TEXT NOT NULL,
    flagged BIGINT NOT NULL,
    placed_at BIGINT NOT NULL
);
CREATE INDEX scores_customer ON scores (customer, placed_at);
CREATE INDEX scores_flagged ON scores (placed_at) WHERE flagged = 1;
