-- Notes users whom a notification has not reached, to look for them later. Those
-- that are noted already stay as they are. It always writes: what waits for replicas
-- then waits for what an earlier run has written, too.
--
-- KEYS[1]  a sorted set of "<id> <user>", by when to look, in Unix milliseconds
-- ARGV[1]  for how long to wait, in milliseconds
-- ARGV[2]  how many the set may have
-- ARGV[3]  how long the set outlives the last call, in milliseconds
-- ARGV[4…] what to note
-- Returns how many were given up, the oldest, because there were too many.
local time = redis.call('TIME')
local due = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[1])
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', due), ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])
if surplus <= 0 then
  return 0
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1)
return surplus
