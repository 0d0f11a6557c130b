-- The replica of the catalogue's prices.
CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    version INTEGER NOT NULL
);

CREATE TABLE orders (
    order_id BLOB PRIMARY KEY,
    status TEXT NOT NULL,
    reason TEXT,
    payment TEXT NOT NULL,
    stock TEXT NOT NULL,
    customer TEXT NOT NULL,
    lines TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    coupon TEXT,
    placed_at INTEGER NOT NULL,
    deadline_at INTEGER NOT NULL,
    settled_at INTEGER,
    traceparent TEXT
);
-- What the deadline may still cancel.
CREATE INDEX orders_deadline ON orders (deadline_at) WHERE status = 'placed';

-- What happened to an order, for people: each kind of fact once.
CREATE TABLE timeline (
    order_id BLOB NOT NULL,
    fact TEXT NOT NULL,
    service TEXT NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT,
    PRIMARY KEY (order_id, fact)
) WITHOUT ROWID;
