-- Declares a process dead, unless its lease stands.
--
-- KEYS[1]  the lease
-- KEYS[2]  the tombstone
-- ARGV[1]  what the tombstone says
-- ARGV[2]  how long it stands, in milliseconds
-- ARGV[3]  '1' to declare it whatever the lease says: the process was declared
--          dead before, and a failover has lost the tombstone
-- Returns 1 when the process is dead now, 0 when its lease stands.
if ARGV[3] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('DEL', KEYS[1]) -- also for a full Redis: it lets a script go on that has begun to write
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX')
return 1
