-- Ends a room. Its record stays for a while, so that those who ask hear of it.
--
-- KEYS[1]  the room's record
-- KEYS[2]  the set of the owner's rooms on this shard
-- KEYS[3]  the sorted set of all rooms on this shard
-- KEYS[4]  the owner's lease
-- ARGV[1]  the room's id
-- ARGV[2]  the owner
-- ARGV[3]  its epoch; empty: whatever it is
-- ARGV[4]  why it has ended
-- ARGV[5]  the result
-- ARGV[6]  how long the record stays, in milliseconds
-- ARGV[7]  '1' when the owner must be dead
-- Returns 1; 2 when that owner had ended it so before with that epoch; or 0 when
-- the room is not that owner's with that epoch, has ended otherwise, or the lease
-- says otherwise. A set of rooms that names what is another's is mended.
local had = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ended')
if not had[1] then
  redis.call('SREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  return 0
elseif had[1] ~= ARGV[2] then
  redis.call('SREM', KEYS[2], ARGV[1])
  return 0
elseif ARGV[3] ~= '' and had[2] ~= ARGV[3] then
  return 0
elseif had[3] then
  return had[3] == ARGV[4] and 2 or 0
elseif ARGV[7] == '1' and redis.call('EXISTS', KEYS[4]) == 1 then
  return 0
end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[1], 'ended', ARGV[4], 'result', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
