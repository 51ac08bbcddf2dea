-- Adds one notification to the inboxes of several users, unless an inbox has
-- had its id before, and gives up what an inbox has no room or time for.
-- Running it twice changes nothing more, but it always writes: what waits for
-- replicas then waits for what an earlier run has written, too.
--
-- KEYS[3i-2]  stream of user i
-- KEYS[3i-1]  ids of user i: a sorted set of notification ids by position
-- KEYS[3i]    book of user i: a hash of
--               bytes    what the stream's entries take
--               soonest  no entry expires before, in Unix milliseconds
--               gone     the highest position that was given up
-- ARGV[1]     notification id
-- ARGV[2]     class, as a number
-- ARGV[3]     services, each followed by a space
-- ARGV[4]     payload
-- ARGV[5]     how long to keep it, in milliseconds
-- ARGV[6]     entries that a stream may have
-- ARGV[7]     bytes that a stream may have
-- ARGV[8]     how long ids and book outlive the last call, in milliseconds
-- Returns {added, expired, pushed out}, summed over the users.
--
-- An entry's id is its position and -0; its fields are i (id), c (class),
-- s (services), p (payload) and x (expiry in Unix milliseconds), in this order.
-- readEntry in entry.go and ack.lua know this too.
local id, class, services, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl, max_count, max_bytes, memory = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local overhead = 64
local added, expired, pushed = 0, 0, 0

local function int(n) return string.format('%.0f', n) end
local function size(i, s, p) return #i + #s + #p + overhead end
local function position(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- drop removes one entry and returns the bytes that this frees.
local function drop(stream, entry)
  redis.call('XDEL', stream, entry[1])
  return size(entry[2][2], entry[2][6], entry[2][8])
end

-- sweep drops what has expired and returns the book's new values.
local function sweep(stream, bytes, gone)
  local soonest = math.huge
  for _, e in ipairs(redis.call('XRANGE', stream, '-', '+')) do
    local expiry = tonumber(e[2][10])
    if expiry <= now then
      bytes = bytes - drop(stream, e)
      gone = math.max(gone, position(e))
      expired = expired + 1
    else
      soonest = math.min(soonest, expiry)
    end
  end
  return bytes, gone, soonest
end

local function add(stream, ids, book)
  if redis.call('ZSCORE', ids, id) then
    redis.call('PEXPIRE', ids, memory)
    redis.call('PEXPIRE', book, memory)
    return
  end
  local b = redis.call('HMGET', book, 'bytes', 'soonest', 'gone')
  local bytes, soonest, gone = tonumber(b[1] or '0'), tonumber(b[2] or '0'), tonumber(b[3] or '0')
  local last = tonumber(redis.call('ZRANGE', ids, -1, -1, 'WITHSCORES')[2] or '0')
  local count = redis.call('XLEN', stream)
  if last == 0 and count > 0 then -- evicted: Redis was told to throw keys away
    last = position(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
  end
  if count == 0 and bytes > 0 then -- the stream expired as a whole
    bytes, gone = 0, last
  end
  if count == 0 then
    soonest = math.huge
  end
  if now >= soonest then
    bytes, gone, soonest = sweep(stream, bytes, gone)
    count = redis.call('XLEN', stream)
  end
  local need = size(id, services, payload)
  while count > 0 and (count + 1 > max_count or bytes + need > max_bytes) do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    bytes = bytes - drop(stream, oldest)
    gone = math.max(gone, position(oldest))
    count = count - 1
    pushed = pushed + 1
  end
  local at = math.max(now, last + 1)
  redis.call('XADD', stream, int(at) .. '-0', 'i', id, 'c', class, 's', services, 'p', payload, 'x', int(now + ttl))
  redis.call('ZADD', ids, int(at), id)
  redis.call('ZREMRANGEBYRANK', ids, 0, -max_count - 1)
  redis.call('HSET', book, 'bytes', int(bytes + need), 'soonest', int(math.min(soonest, now + ttl)), 'gone', int(gone))
  if redis.call('PTTL', stream) < ttl then -- also when it has none yet
    redis.call('PEXPIRE', stream, int(ttl))
  end
  redis.call('PEXPIRE', ids, memory)
  redis.call('PEXPIRE', book, memory)
  added = added + 1
end

for k = 1, #KEYS, 3 do
  add(KEYS[k], KEYS[k + 1], KEYS[k + 2])
end
return {added, expired, pushed}
