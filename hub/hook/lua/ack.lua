-- Takes events out of a partition's stream.
--
-- KEYS[1]  stream, KEYS[2] book: as in add.lua
-- KEYS[3]  lease, as in take.lua
-- ARGV[1]  the caller's token of the lease
-- ARGV[2]  1: the events were delivered, and go whoever has the lease now;
--          0: nobody wants them, 2: they are too old; only the holder of the
--          lease may say so
-- ARGV[3…] two for each event: the entry, and the id of the event that stands there
-- Returns {removed, 1 when the caller holds the lease}.
local stream, book, why = KEYS[1], KEYS[2], ARGV[2]
local overhead = 128 -- as in add.lua
local holds = redis.call('GET', KEYS[3]) == ARGV[1] and 1 or 0
if holds == 0 and why ~= '1' then
  return {0, 0}
end
local removed, bytes = 0, 0
for a = 3, #ARGV, 2 do
  local e = redis.call('XRANGE', stream, ARGV[a], ARGV[a])[1]
  if e and e[2][2] == ARGV[a + 1] then -- after a failover another one may stand there
    redis.call('XDEL', stream, e[1]) -- first: a full Redis lets a script go on that has begun to write
    removed, bytes = removed + 1, bytes + overhead
    for _, field in ipairs({2, 4, 6, 10}) do
      bytes = bytes + #(e[2][field] or '')
    end
  end
end
if removed > 0 then
  redis.call('HINCRBY', book, 'bytes', -bytes)
  if why == '2' then
    redis.call('HINCRBY', book, 'expired', removed)
  end
end
return {removed, holds}
