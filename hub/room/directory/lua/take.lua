-- Gives a room another owner, with the next epoch.
--
-- KEYS[1]  the room's record
-- KEYS[2]  the set of the rooms of the owner before
-- KEYS[3]  the set of the rooms of the owner after
-- KEYS[4]  the set of the processes that own rooms on this shard
-- KEYS[5]  the lease of the owner after
-- KEYS[6]  the lease of the owner before
-- ARGV[1]  the room's id
-- ARGV[2]  the owner before
-- ARGV[3]  its epoch
-- ARGV[4]  the owner after; that before to have a new epoch only
-- ARGV[5]  where players find the owner after
-- ARGV[6]  '1' when the owner before hands the room over; else it must be dead
-- Returns the new epoch, or 0 when the room is not that owner's with that epoch,
-- or has ended, or a lease says otherwise.
local had = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ended')
if had[1] ~= ARGV[2] or had[2] ~= ARGV[3] or had[3] then
  return 0
elseif redis.call('EXISTS', KEYS[5]) == 0 or ARGV[6] ~= '1' and redis.call('EXISTS', KEYS[6]) == 1 then
  return 0
end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[4])
redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'url', ARGV[5])
return redis.call('HINCRBY', KEYS[1], 'epoch', 1)
