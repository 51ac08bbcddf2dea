-- Ends a ticket because somebody wants that, unless a match has it.
--
-- KEYS     as queue.lua
-- ARGV[1]  the ticket's id
-- Returns {what, how, match, told}: 'ended' and how it ended; 'claimed' when a room
-- is being opened for it: it ends as cancelled if it is given back; or 'none'.
begin()
local id = ARGV[1]
local gone = redis.call('HGET', ended, id)
if gone then
  local how, match = string.match(gone, '^(%S+) (.*)$')
  return {'ended', how, match, told}
end
local t = read(id)
if not t then
  return {'none', '', '', told}
end
local match = match_of(id)
if not match then
  conclude(t, 'cancelled', '')
  return {'ended', 'cancelled', '', told}
end
if redis.call('HGET', matches .. match, 'phase') == 'a' then
  conclude(t, 'cancelled', '')
  dissolve(match)
  return {'ended', 'cancelled', '', told}
end
redis.call('HSET', claimed, id, match .. ' x')
return {'claimed', '', match, told}
