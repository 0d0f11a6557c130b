-- What may be leased, and what is leased: neither is looked for among the other, however much there is of it.
CREATE INDEX outbox_free ON outbox (seq) WHERE leased_until = 0;
CREATE INDEX outbox_leased ON outbox (leased_until) WHERE leased_until > 0;

-- One row, to see that rows can be written.
CREATE TABLE last_probe (id BIGINT PRIMARY KEY, at BIGINT NOT NULL);
