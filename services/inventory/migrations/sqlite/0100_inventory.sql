-- What is sold, and how much of it there is.
CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    on_hand INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    version INTEGER NOT NULL,
    CHECK (0 <= reserved AND reserved <= on_hand)
) STRICT, WITHOUT ROWID;

-- What became of each order's goods.
CREATE TABLE reservations (
    order_id BLOB PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('new', 'reserved', 'rejected', 'released', 'shipped')),
    lines TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
