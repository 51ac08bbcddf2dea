-- Lists whom it is time to look for, if the turn is the caller's.
--
-- KEYS[1]  the sorted set, as in note.lua
-- KEYS[2]  turn: the token of who looks now
-- ARGV[1]  the caller's token
-- ARGV[2]  how long the turn stands, in milliseconds
-- ARGV[3]  how many to pass over
-- ARGV[4]  most to list
-- Returns {1 when the turn is the caller's, those that are due, by when}.
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
  return {0}
end
redis.call('DEL', KEYS[2]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', ARGV[3], ARGV[4])
return {1, unpack(due)}
