-- Takes a process's lease out of one shard.
--
-- KEYS[1]  the lease
-- KEYS[2]  the set of processes; only given on the lead shard, as is
-- KEYS[3]  the tombstone
-- ARGV[1]  the process's id
-- ARGV[2]  what the tombstone says
-- ARGV[3]  how long it stands, in milliseconds
-- Returns 1.
redis.call('DEL', KEYS[1]) -- first: a full Redis lets a script go on that has begun to write
if KEYS[2] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
end
return 1
