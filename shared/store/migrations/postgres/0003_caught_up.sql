-- The queues that were given what had happened before they were there.
CREATE TABLE caught_up (
    queue TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);
