-- Takes an event out of a partition's stream.
--
-- KEYS[1]  stream, KEYS[2] book: as in add.lua
-- KEYS[3]  lease, as in take.lua
-- ARGV[1]  the caller's token of the lease
-- ARGV[2]  1: the event was delivered, and goes whoever has the lease now;
--          0: it is given up, which only the holder of the lease may do
-- ARGV[3]  the entry
-- ARGV[4]  id of the event that stands there
-- Returns {removed, 1 when the caller holds the lease}.
local stream, book, entry = KEYS[1], KEYS[2], ARGV[3]
local overhead = 128 -- as in add.lua
local holds = redis.call('GET', KEYS[3]) == ARGV[1] and 1 or 0
if holds == 0 and ARGV[2] ~= '1' then
  return {0, 0}
end
local e = redis.call('XRANGE', stream, entry, entry)[1]
if not e or e[2][2] ~= ARGV[4] then -- after a failover another one may stand there
  return {0, holds}
end
redis.call('XDEL', stream, entry) -- first: a full Redis lets a script go on that has begun to write
local size = overhead
for _, field in ipairs({2, 4, 6, 10}) do
  size = size + #(e[2][field] or '')
end
redis.call('HINCRBY', book, 'bytes', -size)
return {1, holds}
