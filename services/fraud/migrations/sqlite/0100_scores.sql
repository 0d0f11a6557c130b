-- Every order that was placed, and how much it looks like fraud. `customer` is a hash of the address.
CREATE TABLE scores (
    order_id BLOB PRIMARY KEY,
    customer BLOB NOT NULL,
    score INTEGER NOT NULL,
    reasons TEXT NOT NULL,
    flagged INTEGER NOT NULL,
    placed_at INTEGER NOT NULL
);
CREATE INDEX scores_customer ON scores (customer, placed_at);
CREATE INDEX scores_flagged ON scores (placed_at) WHERE flagged = 1;
