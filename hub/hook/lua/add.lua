-- Adds events to a partition's stream, and gives up the oldest when it holds too
-- much: by what the entries take, or by the stream's nodes, of about 4 KiB, which Redis
-- keeps whole as long as one entry of theirs is left. Running it twice adds nothing twice, but it always writes: what waits for
-- replicas then waits for what an earlier run has written, too. A full Redis
-- refuses the first write, and then nothing was changed.
--
-- KEYS[1]   stream
-- KEYS[2]   book: a hash of
--             bytes    what the stream's entries take
--             full     how many were given up because that was too much
--             expired  how many were given up because they were too old
-- KEYS[3]   number of the last event that this publisher has added here
-- ARGV[1]   bytes that the stream may have
-- ARGV[2]   how long stream and book outlive the last call, in milliseconds
-- ARGV[3]   how long KEYS[3] does
-- ARGV[4…]  six for each event: its number, id, subject, type, when it was
--           published in Unix milliseconds, body. Numbers ascend.
-- Returns {added, given up, id of the last that was given up}.
--
-- An entry's fields are i (id), s (subject), k (type), t (time) and b (body), in
-- this order. scan.lua, look.lua and ack.lua know this too.
local stream, book, written = KEYS[1], KEYS[2], KEYS[3]
local most = tonumber(ARGV[1])
local overhead = 128 -- as in ack.lua
local drops = 512 -- entries given up in one call: others must not wait for long
local node = 4096 -- stream-node-max-bytes

local last = tonumber(redis.call('GET', written) or '0')
local bytes = 0
if redis.call('XLEN', stream) > 0 then
  bytes = tonumber(redis.call('HGET', book, 'bytes') or '0')
end
local added, dropped, latest = 0, 0, ''
for a = 4, #ARGV, 6 do
  local number, id, subject, kind, time, body = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
  if number > last then
    redis.call('XADD', stream, '*', 'i', id, 's', subject, 'k', kind, 't', time, 'b', body)
    bytes = bytes + #id + #subject + #kind + #body + overhead
    added, last = added + 1, number
  end
end
redis.call('SET', written, string.format('%.0f', last), 'PX', ARGV[3])
local function nodes()
  local about = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #about, 2 do
    if about[i] == 'radix-tree-keys' then
      return about[i + 1]
    end
  end
  return 0
end
local function full() -- no stream has more nodes than entries, and the last may have room
  return bytes > most or redis.call('XLEN', stream) * node > most and (nodes() - 1) * node > most
end
while dropped < drops and full() do
  local e = redis.call('XRANGE', stream, '-', '+', 'COUNT', '1')[1]
  if not e then
    bytes = 0
    break
  end
  redis.call('XDEL', stream, e[1])
  bytes = bytes - #e[2][2] - #e[2][4] - #e[2][6] - #e[2][10] - overhead
  dropped, latest = dropped + 1, e[2][2]
end
redis.call('HSET', book, 'bytes', string.format('%.0f', bytes))
if dropped > 0 then
  redis.call('HINCRBY', book, 'full', dropped)
end
redis.call('PEXPIRE', stream, ARGV[2])
redis.call('PEXPIRE', book, ARGV[2])
return {added, dropped, latest}
