-- Puts a record under an idempotency key, or deletes the key, if it holds
-- nothing or a pending claim of the calling server that is not newer than the
-- attempt given. What anybody else holds stays.
--
-- KEYS[1]  the idempotency key
-- ARGV[1]  who calls: the process id that its claims carry
-- ARGV[2]  the number of the attempt
-- ARGV[3]  the record to put; empty: delete the key
-- ARGV[4]  how long to keep it, in milliseconds
-- Returns 1 when the record was put or the key deleted, 0 when there was
-- nothing to delete, and the record that stands when it is somebody else's.
--
-- A pending claim is p, 32 bytes of fingerprint, 11 of process id, and the
-- number of the attempt in decimal digits, as pending in once.go writes it.
local held = redis.call('GET', KEYS[1])
if held then
  local mine = string.sub(held, 1, 1) == 'p' and string.sub(held, 34, 44) == ARGV[1]
  local attempt = tonumber(string.sub(held, 45))
  if not (mine and attempt and attempt <= tonumber(ARGV[2])) then
    return held
  end
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  return 1
end
return redis.call('DEL', KEYS[1])
