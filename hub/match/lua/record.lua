-- Records the room of a match, unless the match was given up. From then on it
-- comes about, whoever dies.
--
-- KEYS     as queue.lua
-- ARGV[1]  the match's id
-- ARGV[2]  how long its players may take to be told, in milliseconds
-- ARGV[3]  what its players are told
-- Returns 1 when a room is recorded, also when it was before; else 0.
begin()
local id = ARGV[1]
local phase = redis.call('HGET', matches .. id, 'phase')
if phase == 'c' then
  redis.call('ZADD', claims, now + tonumber(ARGV[2]), id)
  redis.call('HSET', matches .. id, 'phase', 'r', 'found', ARGV[3])
  return 1
end
if phase == 'r' or phase == 'd' then
  return 1
end
return 0
