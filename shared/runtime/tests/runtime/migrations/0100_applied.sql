CREATE TABLE applied (order_id TEXT NOT NULL, attempt BIGINT NOT NULL);
