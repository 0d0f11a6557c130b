-- Which way a message takes: events and commands.
ALTER TABLE outbox ADD COLUMN exchange TEXT NOT NULL DEFAULT 'shop.events';
