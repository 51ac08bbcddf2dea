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

-- without returns old without the entries of the dead, and how many those were.
local function without(old)
  local kept, from, n = {}, 1, 0
  while from <= #old do
    local stop = string.find(old, ' ', from, true) or #old + 1
    local eq = string.find(old, '=', from, true) or stop
    if dead[string.sub(old, from, math.min(eq, stop) - 1)] then
      n = n + 1
    elseif stop > from then
      kept[#kept + 1] = string.sub(old, from, stop - 1)
    end
    from = stop + 1
  end
  return table.concat(kept, ' '), n
end

redis.call('PERSIST', KEYS[#KEYS])
for i = n + 1, #KEYS do
  local old = redis.call('GET', KEYS[i])
  if old then
    local new, gone = without(old)
    removed = removed + gone
    if new == '' then
      redis.call('DEL', KEYS[i])
    elseif gone > 0 then
      redis.call('SET', KEYS[i], new)
    end
  end
end
return removed
