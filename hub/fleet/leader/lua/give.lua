-- Gives the leader's lease back.
--
-- KEYS[1]  the lease
-- ARGV[1]  "<term> <id>" of the caller
-- Returns 1, or 0 when somebody else has it.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
