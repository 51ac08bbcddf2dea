-- Looks after matches in the making whose time is over.
--
-- KEYS     as queue.lua
-- ARGV[1]  how many at most
-- ARGV[2]  how long a claim stands, in milliseconds
-- ARGV[3]  how long players may take to be told, in milliseconds
-- Returns {tickets given back, open, announce, told, more}. open are matches that all of
-- their players have accepted: id and plan, one after the other; announce those
-- whose room is recorded: id and what their players are told. Both are the caller's
-- until the claim lapses again. more is 1 when others are due, too.
begin()
local back, open, announce, more = 0, {}, {}, 0
local over = redis.call('ZRANGE', claims, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[1])

-- decline ends the tickets of those who have not accepted, and gives back others.
local function decline(id, all)
  for ticket in string.gmatch(all, '%S+') do
    local t = match_of(ticket) == id and read(ticket)
    for player in string.gmatch(t and t.players or '', '%S+') do
      if not redis.call('HGET', matches .. id, 'y:' .. player) then
        conclude(t, 'declined', '')
        break
      end
    end
  end
  back = back + dissolve(id)
end

for _, id in ipairs(over) do
  if handled > handled_most then
    more = 1
    break
  end
  local m = redis.call('HMGET', matches .. id, 'phase', 'plan', 'found', 'yes', 'n', 'tickets')
  if m[1] == 'r' then
    redis.call('ZADD', claims, now + tonumber(ARGV[3]), id)
    announce[#announce + 1] = id
    announce[#announce + 1] = m[3]
  elseif m[1] == 'a' and m[4] == m[5] then
    redis.call('ZADD', claims, now + tonumber(ARGV[2]), id)
    redis.call('HSET', matches .. id, 'phase', 'c')
    redis.call('HDEL', matches .. id, 'offer', 'until')
    open[#open + 1] = id
    open[#open + 1] = m[2]
  elseif m[1] == 'a' then
    decline(id, m[6])
  else
    back = back + dissolve(id)
  end
end
return {back, open, announce, told, more}
