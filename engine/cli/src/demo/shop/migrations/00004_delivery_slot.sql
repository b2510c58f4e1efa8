-- +goose Up
ALTER TABLE orders ADD COLUMN delivery_slot TEXT;

-- +goose Down
ALTER TABLE orders DROP COLUMN delivery_slot;
