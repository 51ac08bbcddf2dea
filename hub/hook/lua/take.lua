-- Takes or renews the lease of a partition.
--
-- KEYS[1]  lease: the token of who holds it
-- KEYS[2]  stream, KEYS[3] book: as in add.lua
-- ARGV[1]  the caller's token, drawn afresh by each life of a Sender
-- ARGV[2]  for how long, in milliseconds
-- Returns {1 when it is the caller's now, bytes of the stream, when its first
-- event was published in Unix milliseconds or '', the time in Unix milliseconds}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0, 0, '', now}
end
redis.call('DEL', KEYS[1]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', '1')[1]
if not first then
  return {1, 0, '', now}
end
return {1, tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0'), first[2][8] or '', now}
