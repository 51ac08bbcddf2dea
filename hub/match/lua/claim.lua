-- Takes all tickets of a match out of those that wait, or none.
--
-- KEYS     as queue.lua
-- ARGV[1]  the match's id, used once
-- ARGV[2]  how long the claim stands, in milliseconds
-- ARGV[3]  the fence of the caller's lease
-- ARGV[4]  the plan of the match
-- ARGV[5]  how many players it has
-- ARGV[6]  the room that it fills; empty: a new one
-- ARGV[7]  the epoch of that room
-- ARGV[8]  and on: the tickets
-- Returns 'claimed', also when it was before; 'fenced' when another process has
-- the lease since; 'room' when the room is filled by others or lacks nobody any
-- more; 'gone' when one of the tickets does not wait any more.
begin()
local id, room = ARGV[1], ARGV[6]
if redis.call('EXISTS', matches .. id) == 1 then
  return 'claimed'
end
if tonumber(ARGV[3]) < tonumber(redis.call('HGET', book, 'fence') or 0) then
  return 'fenced'
end
if room ~= '' then
  local wants = redis.call('HGET', lacking, room)
  local epoch, lapses = string.match(wants or '', '^(%d+) (%d+) ')
  if epoch ~= ARGV[7] or tonumber(lapses) <= now or redis.call('HGET', filling, room) then
    return 'room'
  end
end
local all = {}
for i = 8, #ARGV do
  if not redis.call('HGET', tickets, ARGV[i]) or match_of(ARGV[i]) then
    return 'gone'
  end
  all[#all + 1] = ARGV[i]
end
for _, ticket in ipairs(all) do
  redis.call('ZREM', waiting, ticket)
  redis.call('ZREM', due, ticket)
  redis.call('HSET', claimed, ticket, id)
end
redis.call('HSET', matches .. id, 'phase', 'c', 'plan', ARGV[4], 'n', ARGV[5], 'tickets', table.concat(all, ' '))
if room ~= '' then
  redis.call('HSET', matches .. id, 'room', room)
  redis.call('HSET', filling, room, id)
end
redis.call('ZADD', claims, now + tonumber(ARGV[2]), id)
return 'claimed'
