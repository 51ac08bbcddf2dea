-- Ends the tickets of a match whose players were told.
--
-- KEYS     as queue.lua
-- ARGV[1]  the match's id
-- Returns {first, the wait and the players of each ticket that ended}: first is 1
-- when the match had not ended before.
begin()
local id = ARGV[1]
local key = matches .. id
local m = redis.call('HMGET', key, 'phase', 'tickets', 'room', 'found')
if m[1] ~= 'r' then
  return {0}
end
redis.call('ZREM', claims, id)
local said = {1}
for ticket in string.gmatch(m[2], '%S+') do
  local t = match_of(ticket) == id and read(ticket)
  if t then
    conclude(t, 'matched', id)
    local wait = now - t.since
    redis.call('ZADD', recent, now, int(wait) .. ' ' .. t.rating .. ' ' .. ticket)
    said[#said + 1] = wait
    said[#said + 1] = t.players
  end
end
unfill(id, m[3])
if m[3] then
  redis.call('HDEL', lacking, m[3]) -- the room says anew what it lacks
end

-- What is remembered is bounded.
local old = redis.call('ZCARD', recent) - recents
if old > 0 then
  redis.call('ZREM', recent, unpack(redis.call('ZRANGE', recent, 0, math.min(old, 1000) - 1)))
end
redis.call('PEXPIRE', recent, 6 * kept_ms)
redis.call('HDEL', key, 'plan', 'tickets', 'room')
redis.call('HSET', key, 'phase', 'd')
redis.call('PEXPIRE', key, kept_ms)
if redis.call('ZCARD', done) == 0 then
  redis.call('HDEL', book, 'remembered') -- what it counted has expired
end
local size = 128 + 2 * #id + #m[4]
local bytes = redis.call('HINCRBY', book, 'remembered', size)
redis.call('ZADD', done, now, id .. ' ' .. int(size))
redis.call('PEXPIRE', done, kept_ms)
local oldest = redis.call('ZRANGE', done, 0, 7, 'WITHSCORES')
for i = 1, #oldest, 2 do
  local other, its = string.match(oldest[i], '^(%S+) (%d+)$')
  if other ~= id and (bytes > kept_bytes or tonumber(oldest[i + 1]) < now - kept_ms) then
    redis.call('ZREM', done, oldest[i])
    redis.call('DEL', matches .. other)
    bytes = redis.call('HINCRBY', book, 'remembered', -tonumber(its))
  end
end
return said
