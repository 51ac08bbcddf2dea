-- Takes or renews the lease of a queue: who has it makes the queue's matches.
--
-- KEYS     as queue.lua
-- ARGV[1]  who asks
-- ARGV[2]  how long the lease stands, in milliseconds; 0: it is given up
-- Returns the fence of the lease, which grows with each holder; 0 when another
-- process has it, or nobody.
local holder = redis.call('GET', lease)
if ARGV[2] == '0' then
  if holder == ARGV[1] then
    redis.call('DEL', lease)
  end
  return 0
end
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', lease, ARGV[2]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
if holder then
  return tonumber(redis.call('HGET', book, 'fence') or 0)
end
return redis.call('HINCRBY', book, 'fence', 1)
