-- Removes the entries of dead processes from several users' index values.
-- A process whose lease stands on this shard at this moment keeps its entries:
-- a process that comes back renews its lease before it looks at its users, so
-- between the two nothing it owns can get lost.
--
-- KEYS[1..n]  leases of the processes, n = ARGV[1]
-- KEYS[n+i]   index key of user i
-- ARGV[1]     number of processes
-- ARGV[1+j]   id of process j, whose lease is KEYS[j]
-- Returns the number of entries removed.
--
-- It goes through at a Redis that takes no more writes for want of memory: that
-- lets a script go on that has begun to write. Entries have no expiry, so
-- PERSIST changes nothing.
local n, dead, removed = tonumber(ARGV[1]), {}, 0
for j = 1, n do
  if redis.call('EXISTS', KEYS[j]) == 0 then
    dead[ARGV[1 + j]] = true
  end
end
redis.call('PERSIST', KEYS[#KEYS])
for i = n + 1, #KEYS do
  local old = redis.call('GET', KEYS[i])
  if old then
    local kept, before = {}, removed
    for entry in string.gmatch(old, '[^ ]+') do
      if dead[string.match(entry, '^[^=]*')] then
        removed = removed + 1
      else
        kept[#kept + 1] = entry
      end
    end
    if #kept == 0 then
      redis.call('DEL', KEYS[i])
    elseif removed > before then
      redis.call('SET', KEYS[i], table.concat(kept, ' '))
    end
  end
end
return removed
