-- Takes the answer of players to the match that they are asked to accept.
--
-- KEYS     as queue.lua
-- ARGV[1]  the ticket's id
-- ARGV[2]  'yes' or 'no'
-- ARGV[3]  the player who answers; empty: all of the ticket's
-- Returns {what, told}: 'taken'; 'none' when there is no such ticket; 'nothing'
-- when it is not asked; 'stranger' when the player is not one of the ticket's.
begin()
local t = read(ARGV[1])
if not t then
  local gone = redis.call('HGET', ended, ARGV[1])
  return {gone == 'declined ' and ARGV[2] == 'no' and 'taken' or 'none', told} -- it may be a repeat
end
local match = match_of(t.id)
local m = match and redis.call('HMGET', matches .. match, 'phase', 'offer', 'n')
if not m or m[2] ~= '1' or m[1] ~= 'c' and m[1] ~= 'a' then
  return {'nothing', told}
end
local who = {}
for player in string.gmatch(t.players, '%S+') do
  if ARGV[3] == '' or ARGV[3] == player then
    who[#who + 1] = player
  end
end
if #who == 0 then
  return {'stranger', told}
end
if ARGV[2] == 'no' then
  conclude(t, 'declined', '')
  dissolve(match)
  return {'taken', told}
end
local yes = 0
for _, player in ipairs(who) do
  if redis.call('HSET', matches .. match, 'y:' .. player, '1') == 1 then
    yes = redis.call('HINCRBY', matches .. match, 'yes', 1)
  end
end
if m[1] == 'a' and yes == tonumber(m[3]) then
  redis.call('ZADD', claims, now, match) -- somebody opens the room at once
end
return {'taken', told}
