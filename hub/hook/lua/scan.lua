-- Lists entries of a partition's stream, without their bodies. It stops early
-- when it has read much: others must not wait for long.
--
-- KEYS[1]  stream, as in add.lua
-- ARGV[1]  where to begin, as XRANGE takes it
-- ARGV[2]  most entries to list
-- Returns {more, entry, subject, bytes of the body, entry, …}: more is 1 when there
-- may be others after the last.
local from, left = ARGV[1], tonumber(ARGV[2])
local page, work, enough = 16, 0, 512 * 1024
local out = {0}
while left > 0 do
  local count = math.min(page, left)
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', count)
  for _, e in ipairs(entries) do
    local bytes = #(e[2][10] or '')
    out[#out + 1], out[#out + 2], out[#out + 3] = e[1], e[2][4] or '', bytes
    work = work + bytes
    from = '(' .. e[1]
  end
  left = left - #entries
  if #entries < count then
    return out
  end
  if work > enough then
    break
  end
end
out[1] = 1
return out
