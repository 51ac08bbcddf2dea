-- Has a ticket wait, or shows that its owner lives.
--
-- KEYS     as queue.lua
-- ARGV[1]  the ticket's id
-- ARGV[2]  how long it has waited, in milliseconds
-- ARGV[3]  how long a ticket may wait, in milliseconds
-- ARGV[4]  how long its owner may be silent, in milliseconds; 0: for ever
-- ARGV[5]  its rating
-- ARGV[6]  its players, with a space between two
-- ARGV[7]  the rest of it, in JSON
-- ARGV[8]  tickets that may wait at a time
-- ARGV[9]  bytes that they may have
-- Returns {'new'} when it waits from now on; {'live', id} when it waited already,
-- or when another ticket of one of its players does; {'ended', how, match} when it
-- has ended; {'full', what} when there is no room. A ticket that is too old to wait
-- has ended, as expired.
local id, waited, limit, beat = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local gone = redis.call('HGET', ended, id)
if gone then
  return {'ended', string.match(gone, '^(%S+) (.*)$')}
end
local t = read(id)
if t then
  if t.beat > 0 and not match_of(id) then
    redis.call('ZADD', due, due_of(t), id)
  end
  return {'live', id}
end
local n = 0
for player in string.gmatch(ARGV[6], '%S+') do
  local other = redis.call('HGET', players, player)
  if other then
    return {'live', other}
  end
  n = n + 1
end
if waited >= limit then
  return {'ended', 'expired', ''}
end
local since = now - waited
local text = int(since) .. ' ' .. int(since + limit) .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. '\n' .. ARGV[6] .. '\n' .. ARGV[7]
local size = #id + #text
if redis.call('HLEN', tickets) >= tonumber(ARGV[8]) then
  return {'full', ARGV[8] .. ' tickets wait'}
end
if tonumber(redis.call('HGET', book, 'bytes') or 0) + size > tonumber(ARGV[9]) then
  return {'full', 'the tickets that wait have ' .. ARGV[9] .. ' bytes'}
end
redis.call('HSET', tickets, id, text)
for player in string.gmatch(ARGV[6], '%S+') do
  redis.call('HSET', players, player, id)
end
redis.call('ZADD', waiting, since, id)
redis.call('ZADD', due, due_of({till = since + limit, beat = beat}), id)
redis.call('HINCRBY', book, 'created', 1)
redis.call('HINCRBY', book, 'players', n)
redis.call('HINCRBY', book, 'bytes', size)
return {'new'}
