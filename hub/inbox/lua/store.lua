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
--               @<id>    the position of an entry of class must that the ids
--                        have forgotten
--               =<whose> what an account is charged for the ids and the book, as
--                        "<bucket> <bytes>"
-- ARGV[1]     notification id
-- ARGV[2]     class, as a number
-- ARGV[3]     services, each followed by a space
-- ARGV[4]     payload
-- ARGV[5]     how long to keep it, in milliseconds
-- ARGV[6]     entries that a stream may have
-- ARGV[7]     bytes that a stream may have
-- ARGV[8]     how long ids and book outlive the last call, in milliseconds
-- ARGV[9]     users of the notification on this shard that are not done: those
--             of this call, and those of the calls after it
-- ARGV[10]    share of the server's memory up to which anything is stored
-- ARGV[11]    the server's memory if it sets no maxmemory, in bytes; 0: not known
-- ARGV[12]    prefix of the accounts
-- ARGV[13]    whose account is charged; empty: nobody's
-- ARGV[14]    bytes that it may hold on this shard; 0: as ARGV[15] says
-- ARGV[15]    share of what may be stored that it may hold; 0: all of it
-- Returns {added, expired, pushed out, users done}, the first three summed over
-- the users. It may stop before the last user, and then wants to be called for
-- the others: others must not wait for long. Error replies begin with INBOXFULL
-- when the server has no room, and with INBOXQUOTA and a number of seconds when
-- the account has none before; nothing was changed then.
--
-- An entry's id is its position and -0; its fields are i (id), c (class),
-- s (services), p (payload), x (expiry in Unix milliseconds) and a (account), in
-- this order. a is "<bucket> <bytes> <whose>"; entries of nobody's, and old ones,
-- lack it. readEntry in read.go and ack.lua know this too.
--
-- An account is a hash: held, the bytes that are charged; next, the first bucket;
-- and the bytes of each bucket, by the Unix second at which they lapse. What an
-- inbox gives up before it expires is taken off its bucket.
local id, class, services, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl, max_count, max_bytes, memory = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local remaining, accounts, whose = tonumber(ARGV[9]), ARGV[12], ARGV[13]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local must = '0'
local overhead = 64
-- What Redis 7 takes for a stream's first entry, for the ids, the book and the
-- names of all three, and for each of the ids.
local stream_bytes, inbox_bytes, id_bytes = 4096, 640, 128
local added, expired, pushed = 0, 0, 0
-- work is what was read and written of streams, in bytes and per entry; at
-- work_limit it is enough for one call.
local work, per_entry, work_limit = 0, 4096, 800 * 1024
local charges = {} -- by account, by bucket

local function int(n) return string.format('%.0f', n) end
local function size(i, s, p) return #i + #s + #p + overhead end
local function position(entry) return tonumber(string.match(entry[1], '^%d+')) end
local need = size(id, services, payload)

-- bucket_of is when what is stored for so many milliseconds lapses in an
-- account: up to an eighth later, so that buckets are few.
local function bucket_of(keep)
  local width, seconds = 1, math.ceil(keep / 1000)
  while width * 2 <= seconds / 8 do
    width = width * 2
  end
  return int(math.ceil((now / 1000 + seconds) / width) * width)
end
local entry_bucket, inbox_bucket = bucket_of(ttl), bucket_of(memory)

local function charge(name, bucket, bytes)
  charges[name] = charges[name] or {}
  charges[name][bucket] = (charges[name][bucket] or 0) + bytes
end

-- held returns what an account holds and the seconds until some of it lapses.
local function held(account)
  local h = redis.call('HMGET', account, 'held', 'next')
  if not h[1] then
    return 0, 0
  end
  local sum, first = tonumber(h[1]), tonumber(h[2])
  if now / 1000 < first then
    return sum, first - now / 1000
  end
  local all, lapsed = redis.call('HGETALL', account), {}
  sum, first = 0, math.huge
  for i = 1, #all, 2 do
    local bucket = tonumber(all[i])
    if bucket and bucket <= now / 1000 then
      lapsed[#lapsed + 1] = all[i]
    elseif bucket then
      sum, first = sum + tonumber(all[i + 1]), math.min(first, bucket)
    end
  end
  if first == math.huge then
    redis.call('DEL', account)
    return 0, 0
  end
  if #lapsed > 0 then
    redis.call('HDEL', account, unpack(lapsed))
  end
  redis.call('HSET', account, 'held', int(sum), 'next', int(first))
  return sum, first - now / 1000
end

-- settle writes charges into their accounts. What is given back of a bucket that
-- has lapsed was given back with it.
local function settle()
  for name, buckets in pairs(charges) do
    local account, sum, touched = accounts .. name, 0, false
    local first = tonumber(redis.call('HGET', account, 'next') or math.huge)
    for bucket, bytes in pairs(buckets) do
      if bytes > 0 or redis.call('HEXISTS', account, bucket) == 1 then
        redis.call('HINCRBY', account, bucket, int(bytes))
        sum, first, touched = sum + bytes, math.min(first, tonumber(bucket)), true
      end
    end
    if touched then -- also when as much was given back
      redis.call('HINCRBY', account, 'held', int(sum))
      redis.call('HSET', account, 'next', int(first))
      redis.call('PEXPIRE', account, int(2 * memory))
    end
  end
end

-- refusal returns why nothing may be stored, as an error reply, or nil.
local function refusal()
  local info = redis.pcall('INFO', 'memory')
  if type(info) == 'table' then
    if not string.find(info.err, 'not supported', 1, true) then
      return info
    end
    info = '' -- a stand-in for Redis
  end
  local used = tonumber(string.match(info, '\nused_memory:(%d+)') or '0')
  local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)') or '0')
  if limit == 0 then
    limit = tonumber(ARGV[11])
  end
  local room, wanted = tonumber(ARGV[10]) * limit, remaining * (need + stream_bytes + inbox_bytes + id_bytes)
  if limit > 0 and used + wanted > room then
    return redis.error_reply('INBOXFULL ' .. int(used) .. ' of ' .. int(limit) .. ' bytes of memory are used')
  end
  local quota = tonumber(ARGV[14])
  if quota == 0 then
    quota = tonumber(ARGV[15]) * room
  end
  if whose ~= '' and quota > 0 then
    local has, lapse = held(accounts .. whose)
    if has + wanted > quota then
      return redis.error_reply('INBOXQUOTA ' .. int(math.ceil(lapse)) .. ' ' .. int(has) .. ' of ' .. int(quota) .. ' bytes are held')
    end
  end
end

-- drop removes one entry and returns the bytes that this frees.
local function drop(stream, book, entry)
  local fields = entry[2]
  redis.call('XDEL', stream, entry[1])
  if fields[4] == must then
    redis.call('HDEL', book, '@' .. fields[2])
  end
  local bucket, bytes, name = string.match(fields[12] or '', '^(%d+) (%d+) (.*)$')
  if bucket then
    charge(name, bucket, -tonumber(bytes))
  end
  return size(fields[2], fields[6], fields[8])
end

-- look counts the work of having read an entry.
local function look(entry)
  work = work + per_entry + #entry[2][8]
  return entry
end

-- sweep drops what has expired and returns the book's new values.
local function sweep(stream, book, bytes, gone)
  local soonest = math.huge
  for _, e in ipairs(redis.call('XRANGE', stream, '-', '+')) do
    local expiry = tonumber(look(e)[2][10])
    if expiry <= now then
      bytes = bytes - drop(stream, book, e)
      gone = math.max(gone, position(e))
      expired = expired + 1
    else
      soonest = math.min(soonest, expiry)
    end
  end
  return bytes, gone, soonest
end

-- trim bounds the ids. An entry that waits for its acknowledgement longer than
-- they remember has its position noted, so that nobody has to look for it.
local function trim(stream, ids, book)
  if redis.call('ZCARD', ids) <= max_count then
    return
  end
  local old = redis.call('ZRANGE', ids, 0, -max_count - 1, 'WITHSCORES')
  for i = 1, #old, 2 do
    local entry = int(tonumber(old[i + 1])) .. '-0'
    local e = redis.call('XRANGE', stream, entry, entry)[1]
    if e and look(e)[2][4] == must then
      redis.call('HSET', book, '@' .. old[i], int(tonumber(old[i + 1])))
    end
  end
  redis.call('ZREMRANGEBYRANK', ids, 0, -max_count - 1)
end

-- remember charges the account for what the ids and the book take by its doing,
-- more bytes than before, for as long as they stand from now on. They outlive what
-- is stored, and are bounded as the ids are. before is what the book says of it.
local function remember(book, before, more)
  local bucket, bytes = string.match(before or '', '^(%d+) (%d+)$')
  if bucket then
    charge(whose, bucket, -tonumber(bytes))
  end
  bytes = math.min((tonumber(bytes) or inbox_bytes) + more, inbox_bytes + max_count * id_bytes)
  charge(whose, inbox_bucket, bytes)
  redis.call('HSET', book, '=' .. whose, inbox_bucket .. ' ' .. int(bytes))
end

-- unnote drops the positions noted in a book whose stream is gone.
local function unnote(book)
  local all, noted = redis.call('HGETALL', book), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) == '@' then
      noted[#noted + 1] = all[i]
    end
  end
  for i = 1, #noted, 1000 do -- unpack takes some thousands
    redis.call('HDEL', book, unpack(noted, i, math.min(i + 999, #noted)))
  end
  work = work + 128 * #all
end

local function add(stream, ids, book)
  if redis.call('ZSCORE', ids, id) then
    if whose ~= '' then
      remember(book, redis.call('HGET', book, '=' .. whose), 0)
    end
    redis.call('PEXPIRE', ids, memory)
    redis.call('PEXPIRE', book, memory)
    return
  end
  local b = redis.call('HMGET', book, 'bytes', 'soonest', 'gone', '=' .. whose)
  local bytes, soonest, gone = tonumber(b[1] or '0'), tonumber(b[2] or '0'), tonumber(b[3] or '0')
  local last = tonumber(redis.call('ZRANGE', ids, -1, -1, 'WITHSCORES')[2] or '0')
  local count = redis.call('XLEN', stream)
  local cost = need
  if last == 0 and count > 0 then -- evicted: Redis was told to throw keys away
    last = position(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
  end
  if count == 0 and bytes > 0 then -- the stream expired as a whole
    bytes, gone = 0, last
    unnote(book)
  end
  if count == 0 then
    soonest = math.huge
  end
  if now >= soonest then
    bytes, gone, soonest = sweep(stream, book, bytes, gone)
    count = redis.call('XLEN', stream)
  end
  while count > 0 and (count + 1 > max_count or bytes + need > max_bytes) do
    local oldest = look(redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1])
    bytes = bytes - drop(stream, book, oldest)
    gone = math.max(gone, position(oldest))
    count = count - 1
    pushed = pushed + 1
  end
  if count == 0 then
    cost = cost + stream_bytes
  end
  local at = int(math.max(now, last + 1))
  local entry = {'i', id, 'c', class, 's', services, 'p', payload, 'x', int(now + ttl)}
  if whose ~= '' then
    entry[11], entry[12] = 'a', entry_bucket .. ' ' .. int(cost) .. ' ' .. whose
    charge(whose, entry_bucket, cost)
    remember(book, b[4], id_bytes)
  end
  redis.call('XADD', stream, at .. '-0', unpack(entry))
  redis.call('ZADD', ids, at, id)
  trim(stream, ids, book)
  redis.call('HSET', book, 'bytes', int(bytes + need), 'soonest', int(math.min(soonest, now + ttl)), 'gone', int(gone))
  if redis.call('PTTL', stream) < ttl then -- also when it has none yet
    redis.call('PEXPIRE', stream, int(ttl))
  end
  redis.call('PEXPIRE', ids, memory)
  redis.call('PEXPIRE', book, memory)
  added, work = added + 1, work + need
end

local refused = refusal()
if refused then
  return refused
end
local done = 0
while done * 3 < #KEYS and work < work_limit do
  add(KEYS[done * 3 + 1], KEYS[done * 3 + 2], KEYS[done * 3 + 3])
  done = done + 1
end
settle()
return {added, expired, pushed, done}
