-- An operator resolves a step, and no longer a whole order.
-- A saga that was resolved before it asked for the release of its goods goes on with that: it was taken for settled, and they were never
-- released.
INSERT INTO steps (order_id, step, attempt, asked_at, due_at)
SELECT order_id, 'release_stock', 0, settled_at, 0 FROM orders
WHERE resolution IS NOT NULL AND status = 'cancelled' AND coordination = 'orchestration'
    AND settled_at IS NOT NULL AND stock IN ('unknown', 'reserved')
ON CONFLICT (order_id, step) DO NOTHING;
UPDATE orders SET settled_at = NULL
WHERE order_id IN (SELECT order_id FROM steps WHERE step = 'release_stock' AND attempt = 0);
-- Of all others, the operator has dealt with everything that was open.
UPDATE orders SET stock = 'resolved'
WHERE resolution IS NOT NULL AND status = 'cancelled' AND settled_at IS NOT NULL AND stock IN ('unknown', 'reserved');
UPDATE orders SET payment = 'resolved'
WHERE resolution IS NOT NULL AND status = 'cancelled' AND payment IN ('unknown', 'taken');

-- The oldest order that is still to be decided on.
CREATE INDEX orders_placed ON orders (placed_at) WHERE status = 'placed';
-- Charges of a wrong amount: of others, the timeline has no detail.
CREATE INDEX timeline_wrong_amounts ON timeline (at) WHERE fact = 'PaymentTaken' AND detail IS NOT NULL;
