-- How often the mail was handed over to a mail server that didn't say whether it has it.
ALTER TABLE mails ADD COLUMN unknown_outcomes BIGINT NOT NULL DEFAULT 0;
