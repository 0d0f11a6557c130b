-- The row writes of :n confirmed orders over all four services, in the transactions in which the services do them when
-- messages come one by one: 19 commits, or, with n = 50, as many for 50 orders. Only the writes: what the services also
-- read and lock, and all that they do outside the database, is left out. The bodies are as long as the real ones.
\set base :base + :n
\set id :client_id * 1000000000000 + :base
\set last :n - 1
\set placed 100000000000000 + :id
\set confirmed 200000000000000 + :id
\set sku random(1, 8)

-- order: a checkout is written, and its event sent
BEGIN;
INSERT INTO "order".orders (order_id, status, payment, stock, customer, lines, amount, currency, placed_at, deadline_at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'placed', 'pending', 'pending', '{"email":"ada@example.com"}',
    '[{"sku":"mug-blue","name":"Mug, blue","quantity":1,"unit_price":{"amount":1250,"currency":"EUR"}}]', 1250, 'EUR', 1, 2
FROM generate_series(0, :last) i;
INSERT INTO "order".timeline (order_id, fact, service, at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'OrderPlaced', 'order', 1 FROM generate_series(0, :last) i;
INSERT INTO "order".outbox (seq, routing_key, body, created_at, leased_until) OVERRIDING SYSTEM VALUE
SELECT :placed::bigint + i, 'order.placed', repeat('x', 840)::bytea, 1, 0 FROM generate_series(0, :last) i;
COMMIT;
UPDATE "order".outbox SET leased_until = 1 WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;
DELETE FROM "order".outbox WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;

-- payment: what is to be charged is written down; then what came of it, which is sent
INSERT INTO payment.payments (order_id, state, amount, currency, charge_key, failed_reversals, created_at, updated_at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'pending', 1250, 'EUR',
    ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 0, 1, 1
FROM generate_series(0, :last) i;
BEGIN;
INSERT INTO payment.inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/order', ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.order.placed.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE payment.payments SET state = 'taken', charge_id = 'ch_0192f1c47d3c7b5e9a512f1b6c9d8e70', updated_at = 2
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i));
INSERT INTO payment.outbox (seq, routing_key, body, created_at, leased_until) OVERRIDING SYSTEM VALUE
SELECT :placed::bigint + i, 'payment.taken', repeat('x', 680)::bytea, 1, 0 FROM generate_series(0, :last) i;
COMMIT;
UPDATE payment.outbox SET leased_until = 1 WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;
DELETE FROM payment.outbox WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;

-- inventory: the goods are reserved, which is sent
BEGIN;
INSERT INTO inventory.inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/order', ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.order.placed.v1', 1, 0, 1
FROM generate_series(0, :last) i;
INSERT INTO inventory.reservations (order_id, state, lines, updated_at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'new', '{}', 1 FROM generate_series(0, :last) i;
UPDATE inventory.reservations SET state = 'reserved', lines = '{"mug-blue":1}', updated_at = 1
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i));
INSERT INTO inventory.outbox (seq, routing_key, body, created_at, leased_until) OVERRIDING SYSTEM VALUE
SELECT :placed::bigint + i, 'stock.reserved', repeat('x', 580)::bytea, 1, 0 FROM generate_series(0, :last) i;
UPDATE inventory.products SET reserved = reserved + :n WHERE sku = 'mug-' || :sku::int;
COMMIT;
UPDATE inventory.outbox SET leased_until = 1 WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;
DELETE FROM inventory.outbox WHERE seq BETWEEN :placed::bigint AND :placed::bigint + :last;

-- email: the acknowledgement is claimed, and was sent
INSERT INTO email.mails (order_id, kind, message_id, state, claimed_by, claimed_at, claimed_until, attempts)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'acknowledgement',
    ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'sending',
    ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 1, 2, 1
FROM generate_series(0, :last) i;
BEGIN;
INSERT INTO email.inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/order', ('1' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.order.placed.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE email.mails SET state = 'sent', claimed_by = NULL, sent_at = 3
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i)) AND kind = 'acknowledgement';
COMMIT;

-- order: the payment is taken; then the goods are reserved, and the order is confirmed, which is sent
BEGIN;
INSERT INTO "order".inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/payment', ('2' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.payment.taken.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE "order".orders SET payment = 'taken'
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i));
INSERT INTO "order".timeline (order_id, fact, service, at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'PaymentTaken', 'payment', 2 FROM generate_series(0, :last) i;
COMMIT;
BEGIN;
INSERT INTO "order".inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/inventory', ('3' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.stock.reserved.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE "order".orders SET status = 'confirmed', stock = 'reserved', settled_at = 3
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i));
INSERT INTO "order".timeline (order_id, fact, service, at)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, fact, service, 3
FROM generate_series(0, :last) i, (VALUES ('StockReserved', 'inventory'), ('OrderConfirmed', 'order')) f (fact, service);
INSERT INTO "order".outbox (seq, routing_key, body, created_at, leased_until) OVERRIDING SYSTEM VALUE
SELECT :confirmed::bigint + i, 'order.confirmed', repeat('x', 760)::bytea, 1, 0 FROM generate_series(0, :last) i;
COMMIT;
UPDATE "order".outbox SET leased_until = 1 WHERE seq BETWEEN :confirmed::bigint AND :confirmed::bigint + :last;
DELETE FROM "order".outbox WHERE seq BETWEEN :confirmed::bigint AND :confirmed::bigint + :last;

-- inventory: the goods leave
BEGIN;
INSERT INTO inventory.inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/order', ('4' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.order.confirmed.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE inventory.reservations SET state = 'shipped', updated_at = 4
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i));
UPDATE inventory.products SET on_hand = on_hand - :n, reserved = reserved - :n WHERE sku = 'mug-' || :sku::int;
COMMIT;

-- email: the receipt
INSERT INTO email.mails (order_id, kind, message_id, state, claimed_by, claimed_at, claimed_until, attempts)
SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid, 'receipt',
    ('4' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'sending',
    ('4' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 4, 5, 1
FROM generate_series(0, :last) i;
BEGIN;
INSERT INTO email.inbox (source, message_id, type, attempt, replays, received_at)
SELECT '/order', ('4' || lpad(to_hex(:id::bigint + i), 31, '0'))::uuid, 'com.example.shop.order.confirmed.v1', 1, 0, 1
FROM generate_series(0, :last) i;
UPDATE email.mails SET state = 'sent', claimed_by = NULL, sent_at = 5
WHERE order_id = ANY (ARRAY(SELECT lpad(to_hex(:id::bigint + i), 32, '0')::uuid FROM generate_series(0, :last) i)) AND kind = 'receipt';
COMMIT;
