-- Renews the lease of a process that has shown that it lives but cannot renew
-- the lease itself. The value says so with a leading '+'.
--
-- KEYS[1]  the lease
-- KEYS[2]  the tombstone
-- ARGV[1]  a description, for a lease that has lapsed
-- ARGV[2]  how long the lease stands, in milliseconds
-- Returns 1 when it stands for that long now, 0 when it was left alone because
-- more than half of that was left, and -1 when the process was declared dead.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return -1
end
local value = redis.call('GET', KEYS[1])
if value and redis.call('PTTL', KEYS[1]) * 2 > tonumber(ARGV[2]) and string.sub(value, 1, 1) ~= '+' then
  return 0
end
value = value or ARGV[1]
if string.sub(value, 1, 1) ~= '+' then
  value = '+' .. value
end
redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return 1
