-- Notes that a room lacks players, or lacks none any more.
--
-- KEYS     as queue.lua
-- ARGV[1]  the room
-- ARGV[2]  the epoch of its owner
-- ARGV[3]  how long it is believed, in milliseconds; 0: it lacks nobody
-- ARGV[4]  what it lacks, in JSON
-- ARGV[5]  rooms that there may be
-- Returns 1, 0 when a later owner of the room has spoken, or -1 when there are too
-- many rooms.
local room, epoch = ARGV[1], tonumber(ARGV[2])
local before = redis.call('HGET', lacking, room)
local last, lapses, since = string.match(before or '', '^(%d+) (%d+) (%d+)\n')
if last and tonumber(last) > epoch then
  return 0
end
if ARGV[3] == '0' then
  redis.call('HDEL', lacking, room)
  return 1
end
if not last and redis.call('HLEN', lacking) >= tonumber(ARGV[5]) then
  return -1
end
redis.call('HSET', lacking, room, ARGV[2] .. ' ' .. int(now + tonumber(ARGV[3])) .. ' ' .. (since or int(now)) .. '\n' .. ARGV[4])
return 1
