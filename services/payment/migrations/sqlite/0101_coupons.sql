-- Codes are kept in capitals; whoever asks may write them as they like.
CREATE TABLE coupons (
    code TEXT PRIMARY KEY,
    percent_off INTEGER NOT NULL CHECK (percent_off BETWEEN 1 AND 100)
);

INSERT INTO coupons (code, percent_off) VALUES ('WELCOME10', 10), ('SPRING25', 25), ('STAFF50', 50);
