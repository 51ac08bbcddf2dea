-- Sets what one process holds of several users: its entry in each user's
-- index value is replaced whole, whatever other processes wrote stays as it is.
-- Running it twice changes nothing more.
--
-- KEYS[i]    index key of user i; no key twice
-- ARGV[1]    the process's id
-- ARGV[i+1]  what it holds of user i ("svc*n,svc*n"); '' removes the entry
-- Returns the number of values that were changed.
--
-- When it only removes it goes through at a Redis that takes no more writes for
-- want of memory: that lets a script go on that has begun to write. Entries have
-- no expiry, so PERSIST changes nothing.
local mark = ' ' .. ARGV[1] .. '='
local removes = true
for i = 2, #ARGV do
  removes = removes and ARGV[i] == ''
end
if removes then
  redis.call('PERSIST', KEYS[1])
end

-- replace returns old with the process's entry made entry, which has a space in
-- front, or is empty. Only that entry is looked at: a user's value may be long.
local function replace(old, entry)
  if old == '' then
    return string.sub(entry, 2)
  end
  local rest, out, from = ' ' .. old, {}, 1
  local at = string.find(rest, mark, 1, true)
  if not at then
    return old .. entry
  end
  while at do
    out[#out + 1] = string.sub(rest, from, at - 1)
    out[#out + 1] = entry
    entry = '' -- a second one goes
    from = string.find(rest, ' ', at + 1, true) or #rest + 1
    at = string.find(rest, mark, from, true)
  end
  out[#out + 1] = string.sub(rest, from)
  return string.sub(table.concat(out), 2)
end

local values = redis.call('MGET', unpack(KEYS))
local sets, gone = {}, {}
for i, key in ipairs(KEYS) do
  local old, holds = values[i] or '', ARGV[i + 1]
  local new = replace(old, holds == '' and '' or mark .. holds)
  if new == old then
    -- as it should be
  elseif new == '' then
    gone[#gone + 1] = key
  else
    sets[#sets + 1] = key
    sets[#sets + 1] = new
  end
end
if #sets > 0 then
  redis.call('MSET', unpack(sets))
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
end
return #sets / 2 + #gone
