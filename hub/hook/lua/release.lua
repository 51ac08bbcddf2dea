-- Gives the lease of a partition back, if it is the caller's.
--
-- KEYS[1]  lease, ARGV[1] token: as in take.lua
-- Returns 1 when it was.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
