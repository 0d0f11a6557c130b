-- What is sold, and how much of it there is. COLLATE "C": rows are locked in SKU order, and that order must be the
-- same in the service (bytes) and in the database, whatever the database's language.
-- Popular rows change a thousand times a second: room in the page keeps those updates out of the index.
CREATE TABLE products (
    sku TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    on_hand BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    version BIGINT NOT NULL,
    CHECK (0 <= reserved AND reserved <= on_hand)
) WITH (fillfactor = 50);

-- What became of each order's goods. Every row is updated once or twice, soon after it was made: hence the room.
CREATE TABLE reservations (
    order_id UUID PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('new', 'reserved', 'rejected', 'released', 'shipped')),
    lines TEXT NOT NULL,
    updated_at BIGINT NOT NULL
) WITH (fillfactor = 50);
