-- Enters a new room.
--
-- KEYS[1]  the room's record
-- KEYS[2]  the set of the owner's rooms on this shard
-- KEYS[3]  the sorted set of all rooms on this shard
-- KEYS[4]  the set of the processes that own rooms on this shard
-- KEYS[5]  the owner's lease
-- ARGV[1]  the room's id
-- ARGV[2]  the owner's id
-- ARGV[3]  when the room was made, in Unix milliseconds
-- ARGV[4]  how many rooms there may be on this shard
-- ARGV[5..] names and values of the record
-- Returns 1, or 0 when there is a room of that id or was one lately, -1 when the
-- owner has no lease, -2 when there are too many rooms.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
elseif redis.call('EXISTS', KEYS[5]) == 0 then
  return -1
elseif redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) then
  return -2
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[2])
return 1
