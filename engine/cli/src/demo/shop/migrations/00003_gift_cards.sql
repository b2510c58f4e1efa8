-- +goose Up
CREATE TABLE gift_cards (
    code TEXT PRIMARY KEY,
    cents INTEGER NOT NULL
);

-- +goose Down
DROP TABLE gift_cards;
