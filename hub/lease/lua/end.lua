-- Notes of a process that it has ended, though it is not declared dead. Its lease
-- stands as long as it would have. The value says so with a leading '-'.
--
-- KEYS[1]  the lease
-- Returns 1, or 0 when there is no lease.
local value = redis.call('GET', KEYS[1])
if not value then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
redis.call('PEXPIRE', KEYS[1], left) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[1], '-' .. string.gsub(value, '^[+-]', ''), 'PX', left)
return 1
