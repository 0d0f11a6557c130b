-- 1: a call asked for the release of an order that was unknown, and nothing was announced of it. Its state is `released`.
ALTER TABLE reservations ADD COLUMN barred BIGINT NOT NULL DEFAULT 0;
