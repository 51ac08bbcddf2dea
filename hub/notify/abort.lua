-- Gives up a pending idempotency key, unless another request has taken it.
-- KEYS[1]  the idempotency key
-- ARGV[1]  the pending record that the caller wrote
-- Returns 1 when the key was deleted, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
