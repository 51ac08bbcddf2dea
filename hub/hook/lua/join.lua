-- Counts those that send events, the caller among them.
--
-- KEYS[1]  senders: a hash from sender to when it counts no more, in Unix
--          milliseconds
-- ARGV[1]  the caller
-- ARGV[2]  for how long it counts, in milliseconds; 0: it leaves
-- Returns how many there are.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HDEL', KEYS[1], ARGV[1]) -- a full Redis lets a script go on that has begun to write
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local all, live = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) > now then
    live = live + 1
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return live
