-- Says which endpoints the caller sends to, and takes others off the list.
--
-- KEYS[1]  endpoints: a hash from name to "<when> <bytes> <patterns>": when that was
--          said last, in Unix milliseconds, what Redis may keep for it, and the types
--          of events that it wants. "<when>" alone: it was withdrawn
-- ARGV[1]  how long the list outlives the last call, in milliseconds
-- ARGV[2…] three for each endpoint: its name; "<bytes> <patterns>", or '' to withdraw
--          it, or 'x' to forget it; and what it must be said to be now, or '' for
--          whatever it is
-- Returns the list, as HGETALL does.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('HDEL', KEYS[1], '') -- a full Redis lets a script go on that has begun to write
for a = 2, #ARGV, 3 do
  local name, says, only = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if only == '' or redis.call('HGET', KEYS[1], name) == only then
    if says == 'x' then
      redis.call('HDEL', KEYS[1], name)
    elseif says == '' then
      redis.call('HSET', KEYS[1], name, now)
    else
      redis.call('HSET', KEYS[1], name, now .. ' ' .. says)
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
