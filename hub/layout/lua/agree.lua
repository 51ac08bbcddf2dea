-- Compares one process's layout with that of the others on this shard, and
-- enters it.
--
-- KEYS[1]  the layout in force: a hash of
--            layout  as text
--            by      who entered it
--            <role>  when a process of that role entered it last, in seconds
-- KEYS[2]  the layout before that, while the shards change
-- ARGV[1]  the process's layout
-- ARGV[2]  the one before, '' when it knows none
-- ARGV[3]  who the process is
-- ARGV[4]  its role
-- ARGV[5]  how long an entry stands, in seconds
-- Returns {agrees (1 or 0), the layout in force, who entered it, seconds since
-- an API server and since a front entered it last (-1 for never), 1 while the
-- layout changes}.
local mine, before, who, role, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local now = tonumber(redis.call('TIME')[1])
local current = redis.call('HMGET', KEYS[1], 'layout', 'by', 'api', 'front')

local function enter()
  redis.call('HSET', KEYS[1], 'layout', mine, 'by', who, role, now)
  redis.call('EXPIRE', KEYS[1], ttl)
  if before ~= '' then
    redis.call('SET', KEYS[2], before, 'EX', ttl)
  end
end

redis.call('HDEL', KEYS[1], '') -- no such field: a full Redis lets a script go on that has begun to write
local agrees = 1
if not current[1] or current[1] == mine then
  enter()
elseif before ~= '' and current[1] == before then
  redis.call('DEL', KEYS[1])
  enter()
elseif redis.call('GET', KEYS[2]) == mine then
  redis.call('HSET', KEYS[1], role, now) -- of the layout that is being left
else
  agrees = 0
end
current = redis.call('HMGET', KEYS[1], 'layout', 'by', 'api', 'front')
local function age(at)
  return at and now - tonumber(at) or -1
end
return {agrees, current[1], current[2], age(current[3]), age(current[4]), redis.call('EXISTS', KEYS[2])}
