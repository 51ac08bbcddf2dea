-- Removes acknowledged notifications of class must from one inbox. Ids that it
-- does not hold, or holds in another class, are left alone. It looks each id up
-- and reads no entry but those it is asked for.
--
-- KEYS[1]  stream, KEYS[2] ids, KEYS[3] book: as in store.lua
-- ARGV[1]  prefix of the accounts
-- ARGV[i]  notification ids
-- Returns the number of entries removed.
local must = '0'
local stream, ids, book = KEYS[1], KEYS[2], KEYS[3]
local overhead = 64 -- as in store.lua
local removed, bytes = 0, 0
local seen, freed = {}, {}

-- find returns the entry of id. A busy inbox may have forgotten the position
-- of an entry that it still holds; then the book has it.
local function find(id)
  local at = redis.call('ZSCORE', ids, id) or redis.call('HGET', book, '@' .. id)
  if not at then
    return nil
  end
  local entry = string.format('%.0f', tonumber(at)) .. '-0'
  local e = redis.call('XRANGE', stream, entry, entry)[1]
  return e and e[2][2] == id and e
end

-- free takes an entry off its account, as settle in store.lua does.
local function free(charged)
  local bucket, size, name = string.match(charged or '', '^(%d+) (%d+) (.*)$')
  if bucket then
    local account = ARGV[1] .. name
    freed[account] = freed[account] or {}
    freed[account][bucket] = (freed[account][bucket] or 0) + tonumber(size)
  end
end

if redis.call('EXISTS', stream) == 0 then
  return 0
end
for i = 2, #ARGV do
  local id = ARGV[i]
  local e = not seen[id] and find(id)
  seen[id] = true
  if e and e[2][4] == must then
    redis.call('XDEL', stream, e[1])
    redis.call('HDEL', book, '@' .. id)
    free(e[2][12])
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
for account, buckets in pairs(freed) do
  for bucket, size in pairs(buckets) do
    if redis.call('HEXISTS', account, bucket) == 1 then
      redis.call('HINCRBY', account, bucket, -size)
      redis.call('HINCRBY', account, 'held', -size)
    end
  end
end
return removed
