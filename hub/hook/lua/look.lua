-- Says what a partition of an endpoint holds.
--
-- KEYS[1]  stream, KEYS[2] book: as in add.lua
-- Returns {events, bytes, when the first was published in Unix milliseconds or
-- '', given up because the stream was full, given up because they were too old}.
local book = redis.call('HMGET', KEYS[2], 'bytes', 'full', 'expired')
local full, expired = tonumber(book[2] or '0'), tonumber(book[3] or '0')
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')[1]
if not first then
  return {0, 0, '', full, expired}
end
return {redis.call('XLEN', KEYS[1]), tonumber(book[1] or '0'), first[2][8] or '', full, expired}
