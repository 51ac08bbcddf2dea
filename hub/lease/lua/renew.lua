-- Renews a process's lease on one shard and tells whether it stood until now.
--
-- KEYS[1]  the lease
-- KEYS[2]  the set of processes; only given on the lead shard, as is
-- KEYS[3]  the tombstone
-- ARGV[1]  the process's description, the lease's value
-- ARGV[2]  how long the lease stands, in milliseconds
-- ARGV[3]  the process's id
-- ARGV[4]  now, in Unix seconds
-- Returns 1 when the lease had not lapsed, 0 when it had or is new, and -1,
-- having changed nothing, when the process was declared dead.
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  return -1
end
local stood = redis.call('EXISTS', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if KEYS[2] then
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
end
return stood
