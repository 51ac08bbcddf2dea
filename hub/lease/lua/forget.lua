-- Takes swept processes out of the set of processes, unless their lease stands
-- again.
--
-- KEYS[1]    the set of processes
-- KEYS[1+j]  lease of process j
-- ARGV[j]    id of process j
-- Returns the number of processes removed.
local removed = 0
for j, id in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[1 + j]) == 0 then
    removed = removed + redis.call('ZREM', KEYS[1], id)
  end
end
return removed
