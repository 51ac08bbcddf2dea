-- Removes acknowledged notifications of class must from one inbox. Ids that it
-- does not hold, or holds in another class, are left alone.
--
-- KEYS[1]  stream, KEYS[2] ids, KEYS[3] book: as in store.lua
-- ARGV     notification ids
-- Returns the number of entries removed.
local must = '0'
local stream, ids, book = KEYS[1], KEYS[2], KEYS[3]
local overhead = 64 -- as in store.lua
local removed, bytes = 0, 0

-- find returns the entry of id. A busy inbox may have forgotten the position
-- of an entry that it still holds.
local function find(id)
  local at = redis.call('ZSCORE', ids, id)
  if at then
    local entry = string.format('%.0f', tonumber(at)) .. '-0'
    return redis.call('XRANGE', stream, entry, entry)[1]
  end
  for _, e in ipairs(redis.call('XRANGE', stream, '-', '+')) do
    if e[2][2] == id then
      return e
    end
  end
end

for _, id in ipairs(ARGV) do
  local e = find(id)
  if e and e[2][4] == must then
    redis.call('XDEL', stream, e[1])
    removed = removed + 1
    bytes = bytes + #id + #e[2][6] + #e[2][8] + overhead
  end
end
if removed > 0 then
  redis.call('HINCRBY', book, 'bytes', -bytes)
  if redis.call('XLEN', stream) == 0 then
    redis.call('DEL', stream)
  end
end
return removed
