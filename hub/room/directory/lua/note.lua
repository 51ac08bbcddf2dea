-- Notes how a room is, and that it is its owner's: a record that is missing, or is
-- of an epoch before, was lost in a failover.
--
-- KEYS[1]  the room's record
-- KEYS[2]  the set of the owner's rooms on this shard
-- KEYS[3]  the sorted set of all rooms on this shard
-- KEYS[4]  the set of the processes that own rooms on this shard
-- KEYS[5]  the owner's lease
-- ARGV[1]  the room's id
-- ARGV[2]  the owner's id
-- ARGV[3]  its epoch
-- ARGV[4]  when the room was made, in Unix milliseconds
-- ARGV[5..] names and values of the record
-- Returns 1, 0 when the room is another's or has ended, -1 when the owner has no
-- lease.
if redis.call('EXISTS', KEYS[5]) == 0 then
  return -1
end
local had = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ended')
local epoch = tonumber(had[2] or '0')
if epoch > tonumber(ARGV[3]) or epoch == tonumber(ARGV[3]) and (had[1] ~= ARGV[2] or had[3]) then
  return 0
end
redis.call('HDEL', KEYS[1], 'ended', 'result')
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PERSIST', KEYS[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[2])
return 1
