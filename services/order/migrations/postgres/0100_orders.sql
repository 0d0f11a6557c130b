-- The replica of the catalogue's prices.
CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE orders (
    order_id UUID PRIMARY KEY,
    status TEXT NOT NULL,
    reason TEXT,
    payment TEXT NOT NULL,
    stock TEXT NOT NULL,
    customer TEXT NOT NULL,
    lines TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    coupon TEXT,
    placed_at BIGINT NOT NULL,
    deadline_at BIGINT NOT NULL,
    settled_at BIGINT,
    traceparent TEXT
);
-- What the deadline may still cancel.
CREATE INDEX orders_deadline ON orders (deadline_at) WHERE status = 'placed';

-- What happened to an order, for people: each kind of fact once.
CREATE TABLE timeline (
    order_id UUID NOT NULL,
    fact TEXT NOT NULL,
    service TEXT NOT NULL,
    at BIGINT NOT NULL,
    detail TEXT,
    PRIMARY KEY (order_id, fact)
);
