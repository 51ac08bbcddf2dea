-- Asks the players of a claimed match to accept it: opens it for their answers, or
-- lets the time for these run when all were asked.
--
-- KEYS     as queue.lua
-- ARGV[1]  the match's id
-- ARGV[2]  how long they have, in milliseconds; 0: it is opened only
-- Returns 1, or 0 when the match was given up.
begin()
local id = ARGV[1]
local m = redis.call('HMGET', matches .. id, 'phase', 'yes', 'n')
if m[1] ~= 'c' and m[1] ~= 'a' then
  return 0
end
if ARGV[2] == '0' then
  redis.call('HSET', matches .. id, 'offer', '1')
  return 1
end
local ends = now + tonumber(ARGV[2])
redis.call('HSET', matches .. id, 'phase', 'a', 'until', int(ends))
if m[2] == m[3] then
  ends = now
end
redis.call('ZADD', claims, ends, id)
return 1
