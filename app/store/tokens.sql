-- Every statement about tokens, by name.

-- name: insert
INSERT INTO token (token_id, name, prefix, sha256, scopes, created_at, expires_at)
VALUES (:token_id, :name, :prefix, :sha256, :scopes, :created_at, :expires_at)
ON CONFLICT (name) DO NOTHING;

-- name: all
SELECT * FROM token ORDER BY token_id;

-- name: delete
DELETE FROM token WHERE token_id = :token_id;

-- name: use
UPDATE token SET last_used_at = :time WHERE token_id = :token_id;
