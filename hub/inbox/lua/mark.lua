-- Replaces the mark of a shard's inboxes, unless somebody else has meanwhile.
--
-- KEYS[1]  the mark
-- ARGV[1]  the mark as the caller knows it; empty: there was none
-- ARGV[2]  the new mark
-- Returns the mark that stands now.
local held = redis.call('GET', KEYS[1])
if (held or '') ~= ARGV[1] then
  return held or ''
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
