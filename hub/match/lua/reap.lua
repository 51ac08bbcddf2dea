-- Ends waiting tickets that have waited for too long, or whose owners are not heard
-- of any more.
--
-- KEYS     as queue.lua
-- ARGV[1]  how many at most
-- ARGV[2]  '1' when owners could have been heard of; else they get more time
-- ARGV[3]  and on: rooms that lacked players and are to be forgotten if nobody has
--          spoken for them meanwhile
-- Returns {told, more}: more is 1 when others are due, too.
begin()
local more = 0
for _, id in ipairs(redis.call('ZRANGE', due, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local t = read(id)
  if handled > handled_most then
    more = 1
    break
  end
  if not t then
    redis.call('ZREM', due, id)
  elseif t.till <= now then
    conclude(t, 'expired', '')
  elseif ARGV[2] == '1' then
    conclude(t, 'lost', '')
  else
    redis.call('ZADD', due, due_of(t), id)
  end
end
for i = 3, #ARGV do
  local lapses = string.match(redis.call('HGET', lacking, ARGV[i]) or '', '^%d+ (%d+) ')
  if lapses and tonumber(lapses) <= now then
    redis.call('HDEL', lacking, ARGV[i])
  end
end
forget(tonumber(ARGV[1]))
return {told, more}
